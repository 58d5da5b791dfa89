/* The heads of HTTP messages, free of any wire version (RFC 9110). */
#ifndef OUTRIGGER_HTTP_MSG_H
#define OUTRIGGER_HTTP_MSG_H

#include "sidecar/http/headers.h"

enum http_version { HTTP_1_0, HTTP_1_1, HTTP_2, HTTP_VERSION_COUNT };
const char *http_version_name(enum http_version v); /* "HTTP/1.1", Envoy's %PROTOCOL% */

/* A request head. Host is in authority alone, never in the list. Connection-level fields (Connection,
 * Keep-Alive, Proxy-Connection, Transfer-Encoding, TE but "trailers", Upgrade) have been taken out and live in
 * the members; writers add what their version needs. Content-Length stays in the list as it was received, for matching and
 * logs; on the wire the member content_length alone counts: writers skip the field and write the member.
 * Expect: 100-continue is in expect_continue alone: who answers it clears the flag, else it is sent on. */
struct spelling; /* spelling.h */

struct http_request {
    struct headers headers;
    struct str method, scheme, authority, path; /* path with query, as received; scheme may be empty */
    struct str protocol;                        /* Upgrade / :protocol, lower case: "websocket"; empty: none */
    enum http_version version;
    int64_t content_length; /* -1: not given */
    bool expect_continue;
    bool is_head, is_connect;
    bool is_grpc; /* content-type application/grpc, application/grpc+x, application/grpc;x */
    const struct spelling *spelling; /* NULL: names are in lower case; not in copies */
};

struct http_response {
    struct headers headers;
    uint16_t status;
    struct str protocol; /* of a 101 */
    enum http_version version;
    int64_t content_length; /* -1: not given */
    bool close;             /* the codec shall end the connection after this response */
    const struct spelling *spelling; /* as the request's */
};

void http_request_init(struct http_request *r, struct arena *arena);
void http_response_init(struct http_response *r, struct arena *arena);
/* Deep copies, for retries and mirrors. */
void http_request_copy(struct http_request *to, const struct http_request *from, struct arena *arena);
/* A field that the proxy goes by has one value: several of a name are one list, as in Envoy, so that nobody reads the first of
 * them and another the last. For heads as they are read, and again when edits added to them. */
void http_request_join_fields(struct http_request *r);
void http_response_join_fields(struct http_response *r);
bool http_content_type_is_grpc(struct str content_type);
const char *http_status_reason(unsigned status); /* "OK"; "Unknown" as Envoy for codes without one */
/* "Sat, 21 Nov 2026 10:21:29 GMT" (RFC 9110 5.6.7). Returns text. */
#define HTTP_DATE_CAP 32
char *http_date(uint64_t wall_us, char text[HTTP_DATE_CAP]);
struct str http_date_now(void); /* the thread's own, made once a second; good until the next call */
/* The path without query and fragment. */
struct str http_path_only(struct str path);

#endif
