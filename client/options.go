package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// RealtimeOptions are all optional; a nil *RealtimeOptions means all defaults.
type RealtimeOptions struct {
	// ClientID is 16 to 64 characters of [A-Za-z0-9._-], kept secret from others:
	// the server counts what comes with it as this client's. Default: random.
	ClientID string
	// Token gives a bearer token. It is called for each attempt to connect, and its
	// context ends with the attempt. Where it fails, the client tries again later.
	// Where the server refuses the token, the client asks for others for 30 seconds
	// before it gives up.
	Token func(context.Context) (string, error)
	// HTTPClient does the requests; its Timeout is not used, as streams last.
	// Default: [http.DefaultClient].
	//
	// Where it follows redirects, only the server that the address names learns of
	// the client id, the token, the cursor and Header: the same scheme, host and port,
	// or the same host by https in place of http. To another one, a subdomain too, a
	// REN stream is asked for without all of them, and a WebSocket is not opened.
	HTTPClient *http.Client
	// Header is sent with each request to that server.
	Header http.Header
	// MaxBackoff bounds the random wait between attempts, which grows by a half with
	// each one that fails. Default 15 s.
	MaxBackoff time.Duration
	// Logger gets what happens to connections, at debug level, and warnings.
	// Default: [slog.Default].
	Logger *slog.Logger
	// OnState is called with each change of state, one after the other. The client
	// waits for it; it must not call Close.
	OnState func(State)
}

// RenOptions are all optional; a nil *RenOptions means all defaults.
type RenOptions struct {
	// Subscriptions are the resource domains to be told about, e.g. "kv" and "db".
	// Default: all that are granted.
	Subscriptions []string
	// Since is where to begin, from [Ren.Cursor] of a process before or from
	// [Transport.TakeCursor]. Default: with what comes next.
	Since realtime.Cursor

	// As in [RealtimeOptions].
	ClientID   string
	Token      func(context.Context) (string, error)
	HTTPClient *http.Client
	Header     http.Header
	MaxBackoff time.Duration
	Logger     *slog.Logger
	OnState    func(State)
}

func (o *RenOptions) common() *RealtimeOptions {
	return &RealtimeOptions{
		ClientID: o.ClientID, Token: o.Token, HTTPClient: o.HTTPClient, Header: o.Header,
		MaxBackoff: o.MaxBackoff, Logger: o.Logger, OnState: o.OnState,
	}
}

// settings are the options with their defaults.
type settings struct {
	url    *url.URL
	client string
	token  func(context.Context) (string, error)
	http   http.Client
	header http.Header
	max    time.Duration
	log    *slog.Logger
	tell   func(State)
	state  State // told last; the owner's
}

// newSettings takes the schemes an address may have. The error names everything
// that is wrong.
func newSettings(address string, o *RealtimeOptions, schemes ...string) (settings, error) {
	if o == nil {
		o = &RealtimeOptions{}
	}
	s := settings{client: o.ClientID, token: o.Token, header: o.Header, max: o.MaxBackoff, log: o.Logger, tell: o.OnState}
	if s.client == "" {
		s.client = rand.Text()
	}
	if s.max == 0 {
		s.max = maxBackoff
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if o.HTTPClient != nil {
		s.http = *o.HTTPClient
		s.http.Timeout = 0
	}
	var err error
	s.url, err = parseAddress(address, schemes)
	return s, errors.Join(err, s.check())
}

func (s *settings) check() (err error) {
	if !wire.ValidClientID(s.client) {
		err = fmt.Errorf("client: ClientID: %w", realtime.ErrBadClientID)
	}
	if s.max < 0 {
		err = errors.Join(err, fmt.Errorf("client: %w: MaxBackoff is %v, and must be at least 0", realtime.ErrBadOption, s.max))
	}
	return err
}

// parseAddress parses the URL of a server, which must be absolute.
func parseAddress(address string, schemes []string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("client: %w: the URL: %w", realtime.ErrBadOption, err)
	}
	if u.Hostname() == "" || !slices.Contains(schemes, u.Scheme) {
		return nil, fmt.Errorf("client: %w: %q is not an absolute URL with the scheme %s", realtime.ErrBadOption, address, strings.Join(schemes, ", "))
	}
	return u, nil
}

func (s *settings) reconnector() reconnector { return reconnector{max: s.max} }

func (s *settings) become(state State) {
	if s.state == state {
		return
	}
	s.state = state
	if s.tell != nil {
		s.tell(state)
	}
}

// askToken returns a token, "" where there is none.
func (s *settings) askToken(ctx context.Context) (string, error) {
	if s.token == nil {
		return "", nil
	}
	token, err := s.token(ctx)
	if err != nil {
		return "", fmt.Errorf("client: token: %w", err)
	}
	return token, nil
}

// headers returns what is sent with an attempt.
func (s *settings) headers(token string) http.Header {
	h := s.header.Clone()
	if h == nil {
		h = http.Header{}
	}
	if token != "" {
		h.Set("Authorization", "Bearer "+token)
	}
	return h
}
