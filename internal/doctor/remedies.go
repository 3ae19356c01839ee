package doctor

// The proxies for which there are remedies, as keys of [Finding].Remedies.
const (
	Nginx      = "nginx"
	HAProxy    = "HAProxy"
	Caddy      = "Caddy"
	Traefik    = "Traefik"
	Cloudflare = "Cloudflare"
	AWS        = "AWS"
)

// remedies are the lines of configuration that mend a finding, by its code and proxy.
// Those of nginx, HAProxy and Caddy are proven: see internal/test/faulttest.
var remedies = map[string]map[string]string{
	"buffering": {
		Nginx:      "proxy_buffering off;   # and no proxy_ignore_headers X-Accel-Buffering",
		HAProxy:    "remove: http-response wait-for-body",
		Caddy:      "flush_interval -1   # in reverse_proxy, and no buffer_responses or response_buffers",
		Traefik:    "remove the middleware \"buffering\" from the router",
		Cloudflare: "switch \"Response buffering\" off for the zone, and keep Content-Type: text/event-stream",
		AWS:        "a load balancer does not buffer; an API Gateway or Lambda in front does: route the path past it",
	},
	"compression": {
		Nginx:      "gzip off;   # in the location, or remove text/event-stream from gzip_types; and proxy_buffering off;",
		HAProxy:    "remove text/event-stream from: compression type; and do not delete the Cache-Control (no-transform) of responses",
		Caddy:      "encode @pages gzip zstd   # with: @pages not path /api/maravilla/*",
		Traefik:    "excludedContentTypes = [\"text/event-stream\"]   # of the middleware \"compress\"",
		Cloudflare: "a Compression Rule with \"Disable compression\" for the path; and keep Cache-Control: no-transform",
		AWS:        "a load balancer does not compress; in CloudFront: Compress: false in the behavior of the path",
	},
	"idle": {
		Nginx:      "proxy_read_timeout 75s; proxy_send_timeout 75s;",
		HAProxy:    "timeout client 75s | timeout server 75s | timeout tunnel 75s",
		Caddy:      "read_timeout 75s   # in reverse_proxy, transport http; or remove it; stream_timeout 24h for WebSockets",
		Traefik:    "--entryPoints.NAME.transport.respondingTimeouts.idleTimeout=180s, readTimeout=0, writeTimeout=0",
		Cloudflare: "its limit is 100 s: if something is shorter, it stands after Cloudflare. Or lower Options.Heartbeat",
		AWS:        "idle_timeout.timeout_seconds=75   # attribute of the load balancer",
	},
	"upgrade": {
		Nginx: "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;   " +
			"# with: map $http_upgrade $connection_upgrade { default upgrade; '' ''; }",
		HAProxy:    "remove: http-request del-header Upgrade (or Connection); mode http passes it on by itself",
		Caddy:      "remove: header_up -Upgrade and header_up -Connection; reverse_proxy passes them on by itself",
		Traefik:    "no middleware \"headers\" that sets Connection or Upgrade; it passes them on by itself",
		Cloudflare: "Network, WebSockets: on",
		AWS:        "an Application Load Balancer passes it on; a Classic one with HTTP listeners does not. In CloudFront: origin request policy AllViewer",
	},
	"host": {
		Nginx:      "proxy_set_header Host $http_host;",
		HAProxy:    "remove: http-request set-header Host",
		Caddy:      "header_up Host {http.request.host}:{http.request.port}   # or remove the header_up Host that is there",
		Traefik:    "passHostHeader = true   # of the service's loadBalancer",
		Cloudflare: "no Host Header Override in Origin Rules",
		AWS:        "a load balancer keeps Host; in CloudFront: origin request policy AllViewer",
	},
	"origin": {
		Nginx:      "remove: proxy_set_header Origin",
		HAProxy:    "remove: http-request set-header Origin, or del-header Origin",
		Caddy:      "remove: header_up Origin, or header_up -Origin",
		Traefik:    "no Origin among the customRequestHeaders of middlewares",
		Cloudflare: "no Transform Rule that sets or removes Origin",
		AWS:        "in CloudFront: origin request policy AllViewer",
	},
	"headers": {
		Nginx:      "remove: proxy_set_header Last-Event-ID and X-Ren-Client; proxy_pass_request_headers on;",
		HAProxy:    "remove: http-request del-header Last-Event-ID (or X-Ren-Client)",
		Caddy:      "remove: header_up -Last-Event-ID and -X-Ren-Client",
		Traefik:    "neither header among the customRequestHeaders of middlewares",
		Cloudflare: "no Transform Rule that removes them",
		AWS:        "in CloudFront: origin request policy AllViewer",
	},
	"http1": {
		Nginx:      "listen 443 ssl; http2 on;   # before nginx 1.25.1: listen 443 ssl http2;",
		HAProxy:    "bind :443 ssl crt FILE alpn h2,http/1.1",
		Caddy:      "on by default with HTTPS; do not restrict: servers { protocols … }",
		Traefik:    "on by default with TLS; alpnProtocols of the TLS options must have h2",
		Cloudflare: "Speed, Protocol Optimization, HTTP/2: on",
		AWS:        "an HTTPS listener with routing.http2.enabled=true",
	},
}
