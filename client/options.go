package client

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// RealtimeOptions are all optional; a nil *RealtimeOptions means all defaults.
type RealtimeOptions struct {
	// ClientID is 16 to 64 characters of [A-Za-z0-9._-]. Keep it secret: the server
	// attributes to this client all that is sent with it. Default: random.
	ClientID string
	// Token returns a bearer token. It is called for each attempt to connect, and may
	// block until its context ends with the attempt. Space around the token, such as the
	// line break at the end of a file, is dropped. If it fails, the client warns once and
	// tries again later. If the server refuses the token, the client asks for others for
	// 30 seconds before it ends.
	Token func(context.Context) (string, error)
	// HTTPClient makes the requests; its Timeout is not used, since streams last.
	// Default: [http.DefaultClient].
	//
	// If it follows redirects, the client sends its id, the token, the cursor and Header
	// only to the server of the address: with the same scheme, host and port, or the
	// same host with https instead of http. A request for a REN stream that is
	// redirected to another server, such as a subdomain, has none of them, and a
	// WebSocket is not opened there.
	HTTPClient *http.Client
	// Header is sent with each request to that server.
	Header http.Header
	// MaxBackoff bounds the random wait between attempts, which grows by a half with
	// each one that fails. Default 15 s.
	MaxBackoff time.Duration
	// Logger gets the changes of connections, at debug level, and warnings.
	// Default: [slog.Default].
	Logger *slog.Logger
	// OnState is called with each change of state, one call at a time. It must not
	// block for long, since the client waits for it, and must not call Close.
	OnState func(State)
}

// RenOptions are all optional; a nil *RenOptions means all defaults.
type RenOptions struct {
	// Subscriptions are the resource domains to follow, e.g. "kv" and "db".
	// Default: all that are granted.
	Subscriptions []string
	// Since is the cursor to begin after, from [Ren.Cursor] of an earlier process or from
	// [Transport.TakeCursor]. Default: the next event.
	Since realtime.Cursor
	// Every asks for at most the newest event of each key in each interval, up to 10 s.
	// Events without a key all come. Default: every event, at once.
	Every time.Duration

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

	// Used by the owner's goroutine only.
	state  State // the last one told to OnState
	warned bool  // of tokens, since a connection was open
}

// newSettings checks the options and the address, which must have one of the schemes.
// The error names everything that is wrong.
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
		err = fault.Errorf("client: ClientID: %w", realtime.ErrBadClientID)
	}
	if s.max < 0 {
		err = errors.Join(err, fault.Errorf("client: %w: MaxBackoff is %v, and must be at least 0", realtime.ErrBadOption, s.max))
	}
	return err
}

// parseAddress parses the URL of a server, which must be absolute.
func parseAddress(address string, schemes []string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fault.Errorf("client: %w: the URL: %w", realtime.ErrBadOption, err)
	}
	if u.Hostname() == "" || !slices.Contains(schemes, u.Scheme) {
		return nil, fault.Errorf("client: %w: %q is not an absolute URL with the scheme %s", realtime.ErrBadOption, address, strings.Join(schemes, ", "))
	}
	return u, nil
}

func (s *settings) reconnector() reconnector { return reconnector{max: s.max} }

func (s *settings) become(state State) {
	if s.state == state {
		return
	}
	s.state = state
	s.warned = s.warned && state != StateOpen
	if s.tell != nil {
		s.tell(state)
	}
}

// askToken returns a token for an attempt, or "" without the option Token.
func (s *settings) askToken(ctx context.Context) (string, error) {
	if s.token == nil {
		return "", nil
	}
	token, err := s.callToken(ctx)
	if err == nil {
		return token, nil
	}
	err = fault.Errorf("client: token: %w", err)
	if !s.warned && (ctx.Err() == nil || context.Cause(ctx) == errSilent) {
		s.warned = true
		s.log.Warn("client: no token; asking again until there is one", "error", err)
	}
	return "", err
}

var errBadToken = errors.New("it has characters that no header can carry")

func (s *settings) callToken(ctx context.Context) (string, error) {
	token, err := s.token(ctx)
	token = strings.TrimSpace(token)
	if err == nil && strings.ContainsFunc(token, unicode.IsControl) {
		err = errBadToken
	}
	return token, err
}

// headers returns the headers of an attempt.
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
