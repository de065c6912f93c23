package main

import (
	"html/template"
	"log"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// page is what the HTML shows; a part that could not be had is missing.
type page struct {
	Title   string
	User    string
	Book    *book
	Reviews *opinions
}

const title = "The Comedy of Errors"

var layout = template.Must(template.New("productpage").Funcs(template.FuncMap{"repeat": strings.Repeat}).Parse(`<!DOCTYPE html>
<html>
<head><meta charset="utf-8"><title>Simple Bookstore App</title></head>
<body>
<p>BookInfo Sample{{with .User}} ({{.}}){{end}}</p>
<h1>{{.Title}}</h1>
{{with .Book}}<h2>Book Details</h2>
<table>
<tr><th>ISBN-10</th><td>{{.ISBN10}}</td></tr>
<tr><th>Publisher</th><td>{{.Publisher}}</td></tr>
<tr><th>Pages</th><td>{{.Pages}}</td></tr>
<tr><th>Type</th><td>{{.Type}}</td></tr>
<tr><th>Language</th><td>{{.Language}}</td></tr>
</table>
{{else}}<h2>Error fetching product details</h2>
<p>Sorry, product details are currently unavailable for this book.</p>
{{end}}{{with .Reviews}}<h2>Book Reviews</h2>
{{range .Reviews}}<blockquote>{{.Text}} <cite>{{.Reviewer}}</cite>
{{with .Rating}}{{if .Error}}<p>{{.Error}}</p>{{else}}<p style="color: {{.Color}}">{{repeat "★" .Stars}}</p>{{end}}
{{end}}</blockquote>
{{end}}<p>Reviews served by: {{.PodName}}</p>
{{else}}<h2>Error fetching product reviews</h2>
<p>Sorry, product reviews are currently unavailable for this book.</p>
{{end}}</body>
</html>
`))

func productpage(others upstreams) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		write(w, "Product page is healthy")
	})
	mux.HandleFunc("GET /productpage", func(w http.ResponseWriter, r *http.Request) {
		shown := page{Title: title, User: r.Header.Get("end-user")}
		var calls sync.WaitGroup
		calls.Go(func() { shown.Book = fetch[book](others, r, "details", "/details/0") })
		calls.Go(func() { shown.Reviews = fetch[opinions](others, r, "reviews", "/reviews/0") })
		calls.Wait()
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if err := layout.Execute(w, shown); err != nil {
			log.Print(err)
		}
	})
	mux.HandleFunc("GET /api/v1/products", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, []map[string]any{{"id": 0, "title": title}})
	})
	mux.HandleFunc("GET /api/v1/products/{id}", pass(others, "details"))
	mux.HandleFunc("GET /api/v1/products/{id}/reviews", pass(others, "reviews"))
	mux.HandleFunc("GET /api/v1/products/{id}/ratings", pass(others, "ratings"))
	return mux
}

// fetch asks another service for a part of the page; nil when it cannot be had.
func fetch[T any](others upstreams, r *http.Request, name, path string) *T {
	var part T
	if _, err := others.get(r, name, path, &part); err != nil {
		log.Print(err)
		return nil
	}
	return &part
}

// pass answers with what another service of the sample answers.
func pass(others upstreams, name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id, ok := product(w, r)
		if !ok {
			return
		}
		var found any
		status, err := others.get(r, name, "/"+name+"/"+strconv.Itoa(id), &found)
		if err != nil {
			log.Print(err)
			found = problem{Error: "Sorry, product " + name + " are currently unavailable for this book."}
		}
		answer(w, status, found)
	}
}

func write(w http.ResponseWriter, text string) {
	if _, err := w.Write([]byte(text)); err != nil {
		log.Print(err)
	}
}
