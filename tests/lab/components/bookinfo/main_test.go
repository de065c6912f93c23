package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// sample starts services by the name under which the others find them, and returns where they are.
func sample(t *testing.T, patience time.Duration, parts map[string]http.Handler) func(string) string {
	t.Helper()
	urls := map[string]string{}
	address := func(name string) string { return urls[name] }
	for name, handler := range parts {
		if handler == nil {
			arguments := strings.Fields(name)
			var err error
			handler, err = service(arguments, patience, address)
			if err != nil {
				t.Fatal(err)
			}
			name = arguments[0]
		}
		server := httptest.NewServer(handler)
		t.Cleanup(server.Close)
		urls[name] = server.URL
	}
	return address
}

func get(t *testing.T, url string, headers map[string]string) (int, string) {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestTheVersionsOfReviewsDifferInTheirStars(t *testing.T) {
	for version, stars := range map[string]string{"v1": "", "v2": "black", "v3": "red"} {
		address := sample(t, patience, map[string]http.Handler{
			"productpage": nil, "details": nil, "ratings": nil, "reviews " + version: nil,
		})
		status, page := get(t, address("productpage")+"/productpage", nil)
		if status != http.StatusOK || !strings.Contains(page, "PublisherA") || !strings.Contains(page, "slapstick") {
			t.Errorf("%s: %d %s", version, status, page)
		}
		if shown := strings.Contains(page, "★★★★★"); shown != (stars != "") {
			t.Errorf("%s shows stars: %t", version, shown)
		}
		if !strings.Contains(page, stars) {
			t.Errorf("%s: no %s stars in %s", version, stars, page)
		}
	}
}

func TestHeadersOfTracingAndUserReachTheLastService(t *testing.T) {
	seen := make(chan http.Header, 1)
	address := sample(t, patience, map[string]http.Handler{
		"productpage": nil, "details": nil, "reviews v2": nil,
		"ratings": http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header }),
	})
	sent := map[string]string{"end-user": "jason", "x-request-id": "1", "traceparent": "2", "x-b3-traceid": "3", "x-other": "4"}
	get(t, address("productpage")+"/productpage", sent)
	header := <-seen
	for name, value := range sent {
		if got := header.Get(name); (got == value) == (name == "x-other") {
			t.Errorf("%s is %q", name, got)
		}
	}
}

func TestAServiceThatHangsIsGivenUpAndSaidToBeUnavailable(t *testing.T) {
	ended := make(chan struct{})
	hang := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-ended:
		}
	})
	address := sample(t, 600*time.Millisecond, map[string]http.Handler{"reviews v2": nil, "ratings": hang, "productpage": nil, "details": hang})
	defer close(ended)
	status, body := get(t, address("reviews")+"/reviews/0", nil)
	if status != http.StatusOK || strings.Count(body, "Ratings service is currently unavailable") != 2 {
		t.Errorf("%d %s", status, body)
	}
	status, body = get(t, address("productpage")+"/productpage", nil)
	if status != http.StatusOK || !strings.Contains(body, "Error fetching product details") ||
		strings.Count(body, "Ratings service is currently unavailable") != 2 {
		t.Errorf("%d %s", status, body)
	}
	status, body = get(t, address("productpage")+"/api/v1/products/0/ratings", nil)
	if status != http.StatusInternalServerError || !strings.Contains(body, "unavailable") {
		t.Errorf("%d %s", status, body)
	}
}

func TestEveryServiceIsHealthyAndRefusesWhatIsNoNumber(t *testing.T) {
	address := sample(t, patience, map[string]http.Handler{"productpage": nil, "details": nil, "ratings": nil, "reviews v1": nil})
	for _, name := range []string{"productpage", "details", "ratings", "reviews"} {
		if status, body := get(t, address(name)+"/health", nil); status != http.StatusOK {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	for _, url := range []string{address("details") + "/details/x", address("productpage") + "/api/v1/products/x"} {
		if status, body := get(t, url, nil); status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", url, status, body)
		}
	}
	if _, err := service([]string{"reviews"}, patience, nil); err == nil {
		t.Error("reviews needs a version")
	}
}
