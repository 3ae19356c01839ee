package browsertest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"
)

// Chat is a running chat example.
type Chat struct{ *Example }

// StartChat starts the chat example.
func StartChat(t testing.TB) *Chat {
	t.Helper()
	return &Chat{Start(t, "chat")}
}

// StartChatSlower is StartChat with graces and timeouts so many times longer than
// usual.
func StartChatSlower(t testing.TB, slower float64) *Chat {
	t.Helper()
	return &Chat{StartSlower(t, slower, "chat")}
}

// Say has the server publish a message.
func (c *Chat) Say(room, text string) {
	c.t.Helper()
	c.post("api/say", map[string]string{"room": room, "user": "robot", "name": "Robot", "text": text})
}

func (c *Chat) post(path string, body any) {
	c.t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		c.t.Fatal(err)
	}
	answer, err := http.Post(c.URL+path, "application/json", bytes.NewReader(data))
	if err != nil {
		c.t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusNoContent {
		c.t.Fatalf("POST %s: %s", path, answer.Status)
	}
}
