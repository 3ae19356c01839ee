package main

import (
	"cmp"
	"errors"
	"slices"
	"sync"
)

// The collections of the stage, as events name them.
const (
	questions = "questions"
	poll      = "poll"
)

const (
	mostQuestions = 100
	mostVotes     = 10_000 // of a question, or of the poll
)

var (
	errNone = errors.New("there is no such thing here")
	errFull = errors.New("there are too many")
)

// stage is what the pages show. It stands for the app's database.
type stage struct {
	mu      sync.Mutex
	asked   []question // the oldest first; the first one has id 1
	choices []string
	votes   map[string]int // in the poll: a choice, by visitor
}

type question struct {
	text, by string
	votes    map[string]bool // by visitor
	answered bool
}

// questionView is a question as one visitor sees it.
type questionView struct {
	ID, Votes      int
	Text, By       string
	Mine, Answered bool // Mine: the visitor has voted for it
}

// choiceView is a choice of the poll as one visitor sees it.
type choiceView struct {
	ID, Votes, Percent int
	Name               string
	Mine               bool
}

// ask adds a question, for which its visitor votes.
func (s *stage) ask(visitor, by, text string) (id int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.asked) == mostQuestions {
		return 0, errFull
	}
	s.asked = append(s.asked, question{text: text, by: by, votes: map[string]bool{visitor: true}})
	return len(s.asked), nil
}

// vote has a visitor vote for a question, or no longer.
func (s *stage) vote(visitor string, id int) error {
	return s.change(id, func(q *question) error {
		switch {
		case q.votes[visitor]:
			delete(q.votes, visitor)
		case len(q.votes) == mostVotes:
			return errFull
		default:
			q.votes[visitor] = true
		}
		return nil
	})
}

// answer marks a question as answered, or no longer.
func (s *stage) answer(id int) error {
	return s.change(id, func(q *question) error {
		q.answered = !q.answered
		return nil
	})
}

func (s *stage) change(id int, change func(*question) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id < 1 || id > len(s.asked) {
		return errNone
	}
	return change(&s.asked[id-1])
}

// choose sets a visitor's choice in the poll.
func (s *stage) choose(visitor string, choice int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if choice < 0 || choice >= len(s.choices) {
		return errNone
	}
	if _, again := s.votes[visitor]; !again && len(s.votes) == mostVotes {
		return errFull
	}
	s.votes[visitor] = choice
	return nil
}

// questions lists the questions for a visitor: those with most votes first, and those
// that are answered last.
func (s *stage) questions(visitor string) []questionView {
	s.mu.Lock()
	defer s.mu.Unlock()
	views := make([]questionView, len(s.asked))
	for i, q := range s.asked {
		views[i] = questionView{ID: i + 1, Votes: len(q.votes), Text: q.text, By: q.by, Mine: q.votes[visitor], Answered: q.answered}
	}
	slices.SortStableFunc(views, func(a, b questionView) int {
		if a.Answered != b.Answered {
			if b.Answered {
				return -1
			}
			return 1
		}
		return cmp.Compare(b.Votes, a.Votes)
	})
	return views
}

// poll returns the choices of the poll for a visitor, and how many have voted.
func (s *stage) poll(visitor string) (views []choiceView, total int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	views = make([]choiceView, len(s.choices))
	for _, choice := range s.votes {
		views[choice].Votes++
	}
	mine, voted := s.votes[visitor]
	for i, name := range s.choices {
		v := &views[i]
		v.ID, v.Name, v.Mine = i, name, voted && mine == i
		v.Percent = 100 * v.Votes / max(len(s.votes), 1)
	}
	return views, len(s.votes)
}

// newStage returns a stage with something on it.
func newStage() *stage {
	s := &stage{
		choices: []string{"templ", "html/template", "A framework in the browser", "Still a designer's PDF"},
		votes:   make(map[string]int),
	}
	for _, sample := range []struct {
		by, text string
		votes    int
		answered bool
	}{
		{"Brisk Heron", "Does a page have to know which fragment to ask for?", 7, false},
		{"Wry Otter", "What happens to a tab that was asleep for an hour?", 12, false},
		{"Calm Lynx", "Can two people see different HTML of the same event?", 9, false},
		{"Keen Marten", "Is there a microphone?", 4, true},
	} {
		s.asked = append(s.asked, question{text: sample.text, by: sample.by, votes: make(map[string]bool), answered: sample.answered})
		for i := range sample.votes {
			s.asked[len(s.asked)-1].votes[animals[i]] = true
		}
	}
	for i, name := range animals[:11] {
		s.votes[name] = []int{0, 0, 1, 0, 2, 0, 1, 2, 0, 1, 3}[i]
	}
	return s
}
