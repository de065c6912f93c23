package main

import (
	"log"
	"net/http"
	"os"
	"strconv"
)

// book is what details answers.
type book struct {
	ID        int    `json:"id"`
	Author    string `json:"author"`
	Year      int    `json:"year"`
	Type      string `json:"type"`
	Pages     int    `json:"pages"`
	Publisher string `json:"publisher"`
	Language  string `json:"language"`
	ISBN10    string `json:"ISBN-10"`
	ISBN13    string `json:"ISBN-13"`
}

// scores is what ratings answers: stars by reviewer.
type scores struct {
	ID      int            `json:"id"`
	Ratings map[string]int `json:"ratings"`
}

// opinions is what reviews answers.
type opinions struct {
	ID      string    `json:"id"`
	PodName string    `json:"podname"`
	Reviews []opinion `json:"reviews"`
}

type opinion struct {
	Reviewer string `json:"reviewer"`
	Text     string `json:"text"`
	Rating   *stars `json:"rating,omitempty"`
}

// stars has either a number and a color, or an error.
type stars struct {
	Stars int    `json:"stars,omitempty"`
	Color string `json:"color,omitempty"`
	Error string `json:"error,omitempty"`
}

func details() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", healthy("Details"))
	mux.HandleFunc("GET /details/{id}", func(w http.ResponseWriter, r *http.Request) {
		if id, ok := product(w, r); ok {
			answer(w, http.StatusOK, book{
				ID: id, Author: "William Shakespeare", Year: 1595, Type: "paperback", Pages: 200, Publisher: "PublisherA",
				Language: "English", ISBN10: "1234567890", ISBN13: "123-1234567890",
			})
		}
	})
	return mux
}

func ratings() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", healthy("Ratings"))
	mux.HandleFunc("GET /ratings/{id}", func(w http.ResponseWriter, r *http.Request) {
		if id, ok := product(w, r); ok {
			answer(w, http.StatusOK, scores{ID: id, Ratings: map[string]int{"Reviewer1": 5, "Reviewer2": 4}})
		}
	})
	return mux
}

// reviews shows ratings with stars of a color; without a color, it does not ask for them.
func reviews(others upstreams, color string) http.Handler {
	pod := os.Getenv("HOSTNAME")
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", healthy("Reviews"))
	mux.HandleFunc("GET /reviews/{id}", func(w http.ResponseWriter, r *http.Request) {
		id, ok := product(w, r)
		if !ok {
			return
		}
		said := []opinion{
			{Reviewer: "Reviewer1", Text: "An extremely entertaining play by Shakespeare. The slapstick humour is refreshing!"},
			{Reviewer: "Reviewer2", Text: "Absolutely fun and entertaining. The play lacks thematic depth when compared to other plays by Shakespeare."},
		}
		if color != "" {
			rate(others, r, id, color, said)
		}
		answer(w, http.StatusOK, opinions{ID: strconv.Itoa(id), PodName: pod, Reviews: said})
	})
	return mux
}

// rate asks ratings for the stars of each opinion. An opinion without them says so; the reviews are there all the same.
func rate(others upstreams, r *http.Request, id int, color string, said []opinion) {
	var rated scores
	if _, err := others.get(r, "ratings", "/ratings/"+strconv.Itoa(id), &rated); err != nil {
		log.Print(err)
	}
	for i := range said {
		if number, ok := rated.Ratings[said[i].Reviewer]; ok {
			said[i].Rating = &stars{Stars: number, Color: color}
		} else {
			said[i].Rating = &stars{Error: "Ratings service is currently unavailable"}
		}
	}
}
