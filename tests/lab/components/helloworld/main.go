// Command helloworld answers like Istio's sample of the same name, and on /headers with the request's headers.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"slices"
	"time"
)

func main() {
	version := os.Getenv("SERVICE_VERSION")
	instance, err := os.Hostname()
	if err != nil {
		log.Fatal(err)
	}

	http.HandleFunc("GET /hello", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "Hello version: %s, instance: %s\n", version, instance)
	})
	http.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "Helloworld is healthy")
	})
	http.HandleFunc("GET /headers", func(w http.ResponseWriter, r *http.Request) {
		lines := []string{fmt.Sprintf("Host: %s\n", r.Host)}
		for name, values := range r.Header {
			for _, value := range values {
				lines = append(lines, fmt.Sprintf("%s: %s\n", name, value))
			}
		}
		slices.Sort(lines)
		for _, line := range lines {
			fmt.Fprint(w, line)
		}
	})

	server := &http.Server{Addr: ":5000", ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}
