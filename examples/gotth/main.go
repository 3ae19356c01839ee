// Gotth is a page for the questions of an audience, and a poll, that is live in every
// browser without any JavaScript of its own: the server renders HTML with templ, and
// htmx puts it into the page:
//
//	cd examples/gotth && go run .
//
// Each page follows one stream of HTML, a call of rt.Fragments (live.go). What people do
// is a POST, which changes the stage (stage.go) and emits an event. Then each page gets
// the part that has changed, rendered for its own reader, whose votes are marked. A page
// that was away continues where it was.
//
// The templates are in views.templ; go generate makes views_templ.go of them. htmx and
// its extension for streams are in page/htmx. The stack's Tailwind is left out: the page
// needs only a little CSS.
package main

import (
	"context"
	"embed"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/examples/internal/web"
)

//go:embed page
var page embed.FS

//go:generate go run github.com/a-h/templ/cmd/templ@v0.3.1100 generate

func main() { web.Main("gotth", run) }

// run serves until ctx ends.
func run(ctx context.Context, addr string) error {
	rt, err := realtime.New(policy(), web.Options())
	if err != nil {
		return err
	}
	return web.Serve(ctx, "The stage", addr, rt, newApp(rt).handler())
}

// app is the stage and its audience.
type app struct {
	rt    *realtime.Realtime
	stage *stage
}

func newApp(rt *realtime.Realtime) *app { return &app{rt, newStage()} }

// policy lets visitors, who have a cookie, see what happens on the stage and who is
// there. There is no Allow: browsers may neither subscribe nor publish.
func policy() realtime.Policy {
	return realtime.Policy{
		Authenticate: authenticate,
		Grants: func(context.Context, realtime.Identity) ([]realtime.Grant, error) {
			return []realtime.Grant{
				realtime.GrantAll("db").In(questions),
				realtime.GrantAll("db").In(poll),
				realtime.GrantAll("presence").Under(audience),
			}, nil
		},
	}
}
