/* What the files of the room share. For siblings only. */
#ifndef OUTRIGGER_ADMIN_ADMIN_PRIV_H
#define OUTRIGGER_ADMIN_ADMIN_PRIV_H

#include "sidecar/admin/admin.h"
#include "sidecar/base/buf.h"
#include "sidecar/http/serve.h"

struct admin {
    struct serve *serve;
    struct admin_ops ops;
    void *ctx;
};

/* One request on its way through a handler. */
struct admin_request {
    struct admin *admin;
    const struct http_request *head;
    struct arena *arena;
    struct buf out;           /* the body of the answer */
    unsigned status;          /* 200 unless changed */
    const char *content_type; /* text/plain unless changed */
    bool compact;             /* JSON that is not laid out for reading */
};

#define ADMIN_TEXT_TYPE "text/plain; charset=UTF-8"
#define ADMIN_JSON_TYPE "application/json"

/* A query parameter, decoded, or STR_NONE. */
struct str admin_query(const struct admin_request *rq, const char *name);
/* All behind the question mark, as it came. */
struct str admin_query_text(const struct admin_request *rq);
/* The regex in a query parameter: NULL without err where there is none, or with the answer filled
 * where it is bad. */
struct regex;
struct regex *admin_query_regex(struct admin_request *rq, const char *name, const char *complaint,
                                bool *bad_r);
/* Fills the answer with a fault in words. */
void admin_refuse(struct admin_request *rq, unsigned status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Appends a JSON string with its quotes. */
void admin_json_string(struct buf *out, struct str s);
/* Appends JSON laid out as Envoy does: a line an element, one space a level, a line end behind. */
void admin_json_layout(struct buf *out, struct str json);

void admin_stats(struct admin_request *rq);
void admin_stats_prometheus(struct admin_request *rq);
void admin_certs(struct admin_request *rq);
void admin_clusters(struct admin_request *rq);
void admin_listeners(struct admin_request *rq);
void admin_config_dump(struct admin_request *rq);
void admin_server_info(struct admin_request *rq);
void admin_logging(struct admin_request *rq);

#endif
