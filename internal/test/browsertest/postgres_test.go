package browsertest

import (
	"fmt"
	"os/exec"
	"testing"

	"github.com/maravilla-realtime/realtime/internal/test/pgserver"
)

// What the tests know of the orders' board.
const (
	committed = `[...document.querySelectorAll('#events li')].map((e) => e.dataset.type.slice(12) + ' ' + JSON.parse(e.querySelector('code').textContent).k).join()`
	readOnce  = `document.getElementById('reads').textContent`
)

// inList is what is in a list of the board, the newest first.
func inList(status string) string {
	return fmt.Sprintf(`[...document.querySelectorAll('#list-%s .what')].map((e) => e.textContent).join()`, status)
}

// changedBy is who has changed an order last, as the page has it.
func changedBy(item string) string {
	return fmt.Sprintf(`[...document.querySelectorAll('#board li')].find((e) => e.querySelector('.what').textContent === %s)?.querySelector('.by')?.textContent ?? ''`, quote(item))
}

// board is the board of orders, as it begins.
func board(t *testing.T) *Example {
	t.Helper()
	pgserver.Require(t)
	Require(t)
	return Start(t, "postgres")
}

func openBoard(p *Page) *Page {
	p.t.Helper()
	Until(p, inList("paid")+` + `+renOpen, "Giant magnet,Telescopeopen")
	return p
}

// psql types into a psql of its own, with the command that the page shows.
func psql(p *Page, sql string) {
	p.t.Helper()
	command := Eval[string](p, `document.getElementById('command').textContent`)
	if out, err := exec.Command("sh", "-c", command+` --no-psqlrc --set ON_ERROR_STOP=1 --command "$0"`, sql).CombinedOutput(); err != nil {
		p.t.Fatalf("psql: %v: %s", err, out)
	}
}

func orderOn(p *Page, customer, item, price string) {
	p.t.Helper()
	typeIn(p, "#customer", customer)
	typeIn(p, "#item", item)
	typeIn(p, "#price", price+"\r")
}

// move presses a button of the order of an item.
func move(p *Page, label, item string) {
	p.t.Helper()
	Eval[any](p, fmt.Sprintf(`document.querySelector('#board [aria-label=%s]').click()`, quote(label+": "+item)))
}

// What any program commits appears on all pages, and knows the tab that has
// caused it; what is rolled back does not.
func TestOrders(t *testing.T) {
	t.Parallel()
	app := board(t)
	ada := openBoard(NewUser(t).Open(app.URL + "#Ada"))
	grace := openBoard(NewUser(t).Open(app.URL + "#Grace"))
	way := `['writes', 'events-from'].map((id) => document.getElementById(id).textContent).join()`
	Until(ada, way, "process b,process a")
	Until(grace, way, "process a,process b")

	orderOn(ada, "Porky Pig", "Farm gate", "120")
	for p, who := range map[*Page]string{ada: "you", grace: "Ada"} {
		Until(p, inList("new"), "Farm gate,Umbrella")
		Until(p, changedBy("Farm gate"), who)
	}
	move(grace, "Pay", "Farm gate")
	for p, who := range map[*Page]string{ada: "Grace", grace: "you"} {
		Until(p, inList("paid"), "Farm gate,Giant magnet,Telescope")
		Until(p, changedBy("Farm gate"), who)
	}

	// The app rolls back, and so does psql, before it commits something.
	orderOn(ada, "Porky Pig", "A whole farm", "5000")
	Until(ada, `document.getElementById('notes').textContent.includes('rolled back')`, true)
	ada.console.expect("/api/orders") // it was refused
	psql(ada, `begin; delete from orders; rollback`)
	psql(ada, `update orders set status = 'packed' where item = 'Farm gate'`)
	for _, p := range []*Page{ada, grace} {
		Until(p, inList("packed"), "Farm gate,Bird seed, 25 kg")
		Until(p, changedBy("Farm gate"), "psql")
		Until(p, committed, "created 6,updated 6,updated 6")
	}
	psql(ada, `delete from orders where status = 'shipped'`)
	Until(grace, inList("shipped"), "")
	for _, p := range []*Page{ada, grace} {
		if got := Eval[string](p, readOnce); got != "Read 1×, never polled" {
			t.Errorf("the page has %q", got)
		}
	}
	psql(ada, `truncate orders`) // of which rows nobody says
	Until(grace, readOnce, "Read 2×, never polled")
	Until(grace, inList("paid"), "")
}

// The buttons of the page run psql.
func TestOrdersTerminal(t *testing.T) {
	t.Parallel()
	app := board(t)
	ada := openBoard(NewUser(t).Open(app.URL + "#Ada"))
	button := `[...document.querySelectorAll('#statements button')].find((e) => e.textContent === %s).click()`
	said := `document.getElementById('said').textContent`
	Eval[any](ada, fmt.Sprintf(button, quote("Delete all, roll back")))
	Until(ada, said, "shop=# begin;\nBEGIN\nshop=# delete from orders;\nDELETE 5\nshop=# rollback;\nROLLBACK\n")
	Eval[any](ada, fmt.Sprintf(button, quote("Order")))
	Until(ada, inList("new"), "Jet pogo stick,Umbrella")
	Until(ada, said+`.endsWith('INSERT 0 1\n')`, true)
	Eval[any](ada, fmt.Sprintf(button, quote("All pay")))
	Until(ada, inList("paid"), "Jet pogo stick,Umbrella,Giant magnet,Telescope")
	Until(ada, committed, "created 6,updated 5,updated 6")
}

func TestOrdersScreenshot(t *testing.T) {
	t.Parallel()
	app := board(t)
	ada := openBoard(NewUser(t).Open(app.URL + "#Ada"))
	grace := openBoard(NewUser(t).Open(app.URL + "#Grace"))
	orderOn(grace, "Porky Pig", "Farm gate, oak", "120")
	Until(ada, changedBy("Farm gate, oak"), "Grace")
	move(ada, "Pack", "Telescope")
	Until(ada, changedBy("Telescope"), "you")
	for _, name := range []string{"Order", "Delete all, roll back"} {
		Eval[any](ada, fmt.Sprintf(`[...document.querySelectorAll('#statements button')].find((e) => e.textContent === %s).click()`, quote(name)))
		Until(ada, `document.querySelector('#said > :last-child i') !== null`, true)
	}
	Until(ada, changedBy("Jet pogo stick"), "psql")
	Until(ada, `document.getElementById('said').textContent.trim().endsWith('ROLLBACK')`, true)
	pictures(ada, "postgres")
}
