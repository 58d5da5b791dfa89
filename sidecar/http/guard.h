/* What the parsers let pass and we do not: pure checks of message heads, for HTTP/1 and HTTP/2, that also split
 * a head into message and framing. Nothing is routed or forwarded that did not pass here. */
#ifndef OUTRIGGER_HTTP_GUARD_H
#define OUTRIGGER_HTTP_GUARD_H

#include "sidecar/http/msg.h"
#include "sidecar/http/stream.h"

enum guard_verdict {
    GUARD_OK,
    GUARD_SYNTAX,                  /* 400: not HTTP */
    GUARD_BAD_CHARACTERS,          /* 400: a control character, or another that has no place there */
    GUARD_HEADERS_TOO_LARGE,       /* 431 */
    GUARD_TOO_MANY_HEADERS,        /* 431 */
    GUARD_VERSION,                 /* 426: neither 1.1, nor 1.0 where that is accepted */
    GUARD_URL,                     /* 400: not a form of request target that the method may have */
    GUARD_SCHEME,                  /* 400 */
    GUARD_HTTPS_IN_PLAIN,          /* 403: a target of https on a connection without TLS, where that matters */
    GUARD_FRAGMENT,                /* 400, no body: '#' in the path */
    GUARD_HOST_MISSING,            /* 400, no body */
    GUARD_AUTHORITY,               /* 400: Host or :authority repeated, malformed, or at odds */
    GUARD_CONTENT_LENGTH,          /* 400: not 1*DIGIT, too large, repeated */
    GUARD_TRANSFER_ENCODING,       /* 501: anything but one "chunked" */
    GUARD_TRANSFER_ENCODING_PLACE, /* 400: where there must be none (HTTP/1.0, 1xx, 204) */
    GUARD_LENGTH_AND_CHUNKED,      /* 400 */
    GUARD_CONNECTION,              /* 400: Connection nominates what it may not, or too much */
    GUARD_BODY,                    /* 400: a body where there is none: CONNECT; an answer of 1xx or 204 */
    GUARD_UPGRADE,                 /* 403, no body: CONNECT or an upgrade that is not allowed here */
    GUARD_STATUS,                  /* outside 100-599, or a 101 nobody asked for */
    GUARD_FORBIDDEN_FIELD,         /* HTTP/2: a connection-level field, TE but "trailers" */
    GUARD_PSEUDO,                  /* HTTP/2: a pseudo-header missing, or not right for the method */
    GUARD_CHUNK_EXTENSIONS,        /* 400: more than GUARD_CHUNK_EXTENSIONS_MAX bytes of them */
    GUARD_TRAILERS_TOO_LARGE,      /* 431 */
    GUARD_UNDERSCORE,              /* 400: a field name with '_', where that is refused */
    GUARD_VERDICT_COUNT,
};

#define GUARD_CHUNK_EXTENSIONS_MAX 4096u
#define GUARD_TRAILERS_MAX 8192u
#define GUARD_INTERIM_MAX 10u /* interim answers to one request */

const char *guard_name(enum guard_verdict v);
/* What a server answers. A verdict about responses gives 502. */
unsigned guard_status(enum guard_verdict v);
/* Whether Envoy's answer carries the reason as its body. */
bool guard_answers_with_body(enum guard_verdict v);
/* REFUSAL_FAULT for most; HTTP/2 answers some of these all the same, and they are REFUSAL_OTHER there. */
enum refusal_kind guard_refusal_kind(enum guard_verdict v);
/* Envoy's response code details: "http1.codec_error", "http2.violation.of.messaging.rule", ... */
const char *guard_details(enum guard_verdict v, enum http_version version);

/* ---- Parts, for both versions. ---- */

bool guard_is_token(struct str s);                /* RFC 9110 5.6.2: methods, field names */
bool guard_is_field_name(struct str s);           /* a token without upper case */
bool guard_is_field_value(struct str s);          /* no control character but HTAB; RFC 9110 5.5 */
/* host [":" port] of reg-name, IPv4 or "[" IPv6 "]", port 0-65535; no userinfo. Empty passes (RFC 9110 7.2). */
bool guard_is_authority(struct str s);
bool guard_is_path(struct str s); /* path and query: visible ASCII without '#' */
/* 1*DIGIT up to INT64_MAX. */
bool guard_content_length(struct str s, int64_t *value_r);

/* ---- HTTP/1 (RFC 9112). ---- */

/* What the codec must know of a head beside the message. */
struct guard_framing {
    bool chunked;
    bool close;         /* the connection ends after this message, by header or version */
    bool is_tunnel;     /* raw bytes follow: an answer to CONNECT or an upgrade */
    bool until_close;   /* a response that ends with the connection */
    bool no_body;       /* a response that has none whatever its fields say: to HEAD, 1xx, 204, 304 */
};

/* r->headers holds all fields as received, names in lower case; r->method is set. target is the request target.
 * Fills the rest of r and takes what belongs to the connection out of its list (msg.h). Options: max_header_count,
 * max_header_bytes, accept_http10, http10_default_host, refuse_https, allow_connect, allow_upgrade. */
enum guard_verdict guard_h1_request(struct http_request *r, struct str target, unsigned major, unsigned minor,
                                    const struct codec_options *options, struct guard_framing *framing_r);

struct guard_asked {
    bool head, connect;
    struct str protocol; /* the upgrade asked for; empty: none */
};
/* r->headers as above; r->status is set. */
enum guard_verdict guard_h1_response(struct http_response *r, unsigned major, unsigned minor,
                                     const struct guard_asked *asked, const struct codec_options *options,
                                     struct guard_framing *framing_r);

/* ---- HTTP/2 (RFC 9113 8.2, 8.3). ---- */

/* method, scheme, authority, path and protocol hold the pseudo-headers (.p NULL: absent); headers the rest, each
 * name and value already passed by guard_is_field_name and guard_is_field_value. end: END_STREAM came with the head.
 * Merges Host into authority, sets content_length and the flags. */
enum guard_verdict guard_h2_request(struct http_request *r, bool end, const struct codec_options *options);
/* status is set. Sets content_length. */
enum guard_verdict guard_h2_response(struct http_response *r, const struct codec_options *options);

/* ---- Both. ---- */

/* Some applications take '-' and '_' in a name for one another. Drops fields with one, or refuses; *found_r: how many there are. */
enum guard_verdict guard_underscores(struct headers *h, enum underscores action, unsigned *found_r);
/* Takes framing, routing and connection fields out of a trailer section (RFC 9110 6.5.1). */
void guard_trailers(struct headers *trailers);

#endif
