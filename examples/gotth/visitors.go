package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"

	"github.com/maravilla-realtime/realtime"
)

// audience is the channel that the visitors are present in.
const audience = "audience"

// visitor is who looks at the page. The id is public, and cannot be turned back into
// the cookie that it is made of.
type visitor struct {
	id, name string
	hue      int // of their avatar, one of the twelve in style.css
}

const cookieName = "visitor"

// visitorOf returns whom a request comes from.
func visitorOf(r *http.Request) (v visitor, ok bool) {
	cookie, err := r.Cookie(cookieName)
	if err != nil || len(cookie.Value) != len(rand.Text()) {
		return v, false
	}
	return visitorWith(cookie.Value), true
}

func visitorWith(secret string) visitor {
	sum := sha256.Sum256([]byte(secret))
	pick := func(i, n int) int { return int(sum[8+i]) % n }
	name := manners[pick(0, len(manners))] + " " + animals[pick(1, len(animals))]
	return visitor{hex.EncodeToString(sum[:8]), name, pick(2, 12)}
}

// newVisitor gives a browser its cookie.
func newVisitor(w http.ResponseWriter, r *http.Request) visitor {
	secret := rand.Text()
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: secret, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: r.TLS != nil,
	})
	return visitorWith(secret)
}

func authenticate(r *http.Request) (realtime.Identity, error) {
	v, ok := visitorOf(r)
	if !ok {
		return realtime.Identity{}, errors.New("no visitor")
	}
	return realtime.Identity{User: v.id}, nil
}

// profile is what others see of a visitor.
type profile struct {
	Name string `json:"name"`
	Hue  int    `json:"hue"`
}

// here makes a visitor present for 90 s, unless asked again, which a page does each
// minute. A visit is one page: its end does not end the visit of another tab.
func (a *app) here(w http.ResponseWriter, r *http.Request, v visitor) {
	if visit, ok := visitOf(w, r); ok {
		done(w, a.rt.Presence().Join(r.Context(), audience, v.id, profile{v.name, v.hue}, visit))
	}
}

func (a *app) away(w http.ResponseWriter, r *http.Request, v visitor) {
	if visit, ok := visitOf(w, r); ok {
		done(w, a.rt.Presence().Leave(r.Context(), audience, v.id, visit))
	}
}

func visitOf(w http.ResponseWriter, r *http.Request) (visit realtime.EventOption, ok bool) {
	id := r.FormValue("visit")
	if id == "" { // which would stand for this server
		http.Error(w, "visit is missing", http.StatusBadRequest)
	}
	return realtime.FromClient(id), id != ""
}

// The names of visitors are made of these.
var (
	manners = []string{
		"Amber", "Bold", "Curious", "Daring", "Eager", "Fluent", "Gentle", "Humble", "Ideal", "Jolly", "Kind", "Lucid",
		"Merry", "Nimble", "Open", "Patient", "Quiet", "Ready", "Silent", "Tidy", "Upbeat", "Vivid", "Witty", "Young",
	}
	animals = []string{
		"Alpaca", "Bison", "Crane", "Dingo", "Egret", "Finch", "Gecko", "Heron", "Ibis", "Jackal", "Kiwi", "Lynx",
		"Marten", "Newt", "Otter", "Panda", "Quokka", "Raven", "Seal", "Toucan", "Urchin", "Vole", "Wombat", "Yak",
	}
)

func initials(name string) string {
	first, second, _ := strings.Cut(name, " ")
	return first[:1] + second[:1]
}
