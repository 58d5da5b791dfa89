/* A small HTTP/1.1 and HTTP/2 (prior knowledge) server for our own endpoints: admin, health, API, demo. */
#ifndef OUTRIGGER_HTTP_SERVE_H
#define OUTRIGGER_HTTP_SERVE_H

#include "sidecar/base/buf.h"
#include "sidecar/http/msg.h"
#include "sidecar/net/listen.h"

struct serve;
struct serve_request; /* one open request */

/* The whole request: head and body. Answer now or later, once, with serve_reply or serve_begin. */
typedef void serve_fn(void *ctx, struct serve_request *rq, const struct http_request *head, struct str body);

struct serve_options {
    uint32_t max_body_bytes; /* 0: 1 MiB; above it 413 */
    uint32_t idle_ms;        /* 0: 60 s without a request; then the connection ends */
    uint32_t receive_ms;     /* 0: 10 s from a request's first byte to its last; then the same */
    struct listen_options listen;
};

/* Listens at `at` (port 0: see serve_port). NULL with -errno in *error_r. */
struct serve *serve_start(struct loop *loop, const struct addr *at, const struct serve_options *options,
                          serve_fn *fn, void *ctx, int *error_r);
/* The same on a listening fd that somebody handed over. */
struct serve *serve_start_fd(struct loop *loop, int fd, const struct serve_options *options, serve_fn *fn, void *ctx);
uint16_t serve_port(const struct serve *s);
void serve_stop(struct serve **s); /* connections are closed */

void serve_reply(struct serve_request *rq, unsigned status, const char *content_type, struct str body);
/* Adds a header to the coming reply. */
void serve_header(struct serve_request *rq, const char *name, const char *value);
/* A reply in pieces: begin, any number of chunks, end. on_gone is called if the peer leaves first; then do not
 * touch rq any more. */
void serve_begin(struct serve_request *rq, unsigned status, const char *content_type, void (*on_gone)(void *ctx), void *ctx);
void serve_chunk(struct serve_request *rq, struct str data);
void serve_end(struct serve_request *rq);
struct loop *serve_loop(const struct serve_request *rq);
struct conn *serve_conn(const struct serve_request *rq);

/* Splits "/a/b?x=1&y" : the path, and one query parameter (percent-decoded into arena; STR_NONE: absent). */
struct str serve_query(const struct http_request *head, struct arena *arena, const char *name);

#endif
