package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"strconv"
	"time"
)

const (
	// patience is how long productpage waits for another service, until its answer is read to the end.
	patience = 3 * time.Second
	// longest answer of another service, in bytes.
	longest = 1 << 20
)

// forwarded are the headers that go on with every call, as in the sample: they tie the spans of one request together, and
// routing by user needs end-user.
var forwarded = []string{
	"x-request-id",
	"x-ot-span-context",
	"x-datadog-trace-id",
	"x-datadog-parent-id",
	"x-datadog-sampling-priority",
	"traceparent",
	"tracestate",
	"x-cloud-trace-context",
	"grpc-trace-bin",
	"x-b3-traceid",
	"x-b3-spanid",
	"x-b3-parentspanid",
	"x-b3-sampled",
	"x-b3-flags",
	"sw8",
	"end-user",
	"user-agent",
	"cookie",
	"authorization",
	"jwt",
}

// upstreams is the way to the other services.
type upstreams struct {
	client  *http.Client
	address func(string) string
}

// get asks another service on behalf of a request and decodes its JSON. The status is the other's, or 500 when it gave none.
func (u upstreams) get(on *http.Request, name, path string, into any) (int, error) {
	request, err := http.NewRequestWithContext(on.Context(), http.MethodGet, u.address(name)+path, nil)
	if err != nil {
		return http.StatusInternalServerError, err
	}
	for _, header := range forwarded {
		for _, value := range on.Header.Values(header) {
			request.Header.Add(header, value)
		}
	}
	response, err := u.client.Do(request)
	if err != nil {
		return http.StatusInternalServerError, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return response.StatusCode, fmt.Errorf("%s answers %s", name, response.Status)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, longest)).Decode(into); err != nil {
		return http.StatusInternalServerError, fmt.Errorf("what %s answers: %w", name, err)
	}
	return response.StatusCode, nil
}

// problem is the body of every answer that is an error.
type problem struct {
	Error string `json:"error"`
}

// answer writes a value as JSON.
func answer(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(value); err != nil {
		log.Print(err)
	}
}

// product reads the number of the product from the path, or answers that there is none.
func product(w http.ResponseWriter, r *http.Request) (int, bool) {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil {
		answer(w, http.StatusBadRequest, problem{Error: "please provide numeric product ID"})
	}
	return id, err == nil
}

// healthy answers probes.
func healthy(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]string{"status": name + " is healthy"})
	}
}
