// Command bookinfo is one of the services of Istio's sample of the same name, with its paths, its answers and its calls:
// productpage asks details and reviews, and reviews from v2 on ask ratings.
//
//	bookinfo productpage|details|ratings
//	bookinfo reviews v1|v2|v3
//
// Every service listens on port 9080 and finds the others by their names.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
	"time"
)

const port = ":9080"

func main() {
	log.SetFlags(0)
	handler, err := service(os.Args[1:], patience, address)
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Addr: port, Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}

// address returns the URL at which the sample's service of this name is found.
func address(name string) string {
	return "http://" + name + port
}

// service makes the service that the command line names. It finds the others at the URLs that address tells. productpage waits
// for each as long as patience; reviews a little less, so that its answer without stars is still in time.
func service(arguments []string, patience time.Duration, address func(string) string) (http.Handler, error) {
	within := func(limit time.Duration) upstreams {
		return upstreams{client: &http.Client{Timeout: limit}, address: address}
	}
	less := within(patience * 5 / 6)
	switch strings.Join(arguments, " ") {
	case "productpage":
		return productpage(within(patience)), nil
	case "details":
		return details(), nil
	case "ratings":
		return ratings(), nil
	case "reviews v1":
		return reviews(less, ""), nil
	case "reviews v2":
		return reviews(less, "black"), nil
	case "reviews v3":
		return reviews(less, "red"), nil
	default:
		return nil, fmt.Errorf("usage: bookinfo productpage|details|ratings | bookinfo reviews v1|v2|v3")
	}
}
