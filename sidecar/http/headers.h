/* An ordered list of header fields, names in lower case, in an arena. */
#ifndef OUTRIGGER_HTTP_HEADERS_H
#define OUTRIGGER_HTTP_HEADERS_H

#include "sidecar/base/arena.h"
#include "sidecar/base/str.h"

/* Fields that the proxy itself looks at get an id when they are added, so that looking one up compares
 * no text. The table is in headers.c; HDR_OTHER is every other name. */
enum header_id {
    HDR_OTHER,
    HDR_ACCEPT,
    HDR_CONNECTION,
    HDR_CONTENT_LENGTH,
    HDR_CONTENT_TYPE,
    HDR_COOKIE,
    HDR_DATE,
    HDR_EXPECT,
    HDR_GRPC_MESSAGE,
    HDR_GRPC_STATUS,
    HDR_GRPC_TIMEOUT,
    HDR_HOST,
    HDR_KEEP_ALIVE,
    HDR_LOCATION,
    HDR_PROXY_CONNECTION,
    HDR_REFERER,
    HDR_SERVER,
    HDR_TE,
    HDR_TRAILER,
    HDR_TRANSFER_ENCODING,
    HDR_UPGRADE,
    HDR_USER_AGENT,
    HDR_VIA,
    HDR_X_CLIENT_TRACE_ID,
    HDR_X_ENVOY_ATTEMPT_COUNT,
    HDR_X_ENVOY_DECORATOR_OPERATION,
    HDR_X_ENVOY_DOWNSTREAM_SERVICE_CLUSTER,
    HDR_X_ENVOY_DOWNSTREAM_SERVICE_NODE,
    HDR_X_ENVOY_EXPECTED_RQ_TIMEOUT_MS,
    HDR_X_ENVOY_EXTERNAL_ADDRESS,
    HDR_X_ENVOY_FORCE_TRACE,
    HDR_X_ENVOY_HEDGE_ON_PER_TRY_TIMEOUT,
    HDR_X_ENVOY_INTERNAL,
    HDR_X_ENVOY_IP_TAGS,
    HDR_X_ENVOY_IS_TIMEOUT_RETRY,
    HDR_X_ENVOY_MAX_RETRIES,
    HDR_X_ENVOY_ORIGINAL_HOST,
    HDR_X_ENVOY_ORIGINAL_PATH,
    HDR_X_ENVOY_ORIGINAL_URL,
    HDR_X_ENVOY_OVERLOADED,
    HDR_X_ENVOY_RATELIMITED,
    HDR_X_ENVOY_RETRIABLE_HEADER_NAMES,
    HDR_X_ENVOY_RETRIABLE_STATUS_CODES,
    HDR_X_ENVOY_RETRY_GRPC_ON,
    HDR_X_ENVOY_RETRY_ON,
    HDR_X_ENVOY_UPSTREAM_ALT_STAT_NAME,
    HDR_X_ENVOY_UPSTREAM_RQ_PER_TRY_TIMEOUT_MS,
    HDR_X_ENVOY_UPSTREAM_RQ_TIMEOUT_ALT_RESPONSE,
    HDR_X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS,
    HDR_X_ENVOY_UPSTREAM_SERVICE_TIME,
    HDR_X_ENVOY_UPSTREAM_STREAM_DURATION_MS,
    HDR_X_FORWARDED_CLIENT_CERT,
    HDR_X_FORWARDED_FOR,
    HDR_X_FORWARDED_HOST,
    HDR_X_FORWARDED_PORT,
    HDR_X_FORWARDED_PROTO,
    HDR_X_REQUEST_ID,
    HDR_TRACEPARENT,
    HDR_ID_COUNT,
};

struct header {
    struct str name; /* lower case */
    struct str value;
    uint8_t id;         /* enum header_id */
    bool never_index;   /* HPACK's never-indexed literal */
};

/* Zeroed plus an arena: an empty list. The strings of entries live in the arena, or longer. */
struct headers {
    struct arena *arena;
    struct header *v;
    uint32_t count, cap;
    size_t bytes; /* names + values, for limits */
    uint64_t ids; /* HDR_BIT of each known field in the list: most that are looked for are not there */
    uint64_t repeated; /* those that were added while one was there */
};

#define HDR_BIT(id) (UINT64_C(1) << (id))
_Static_assert(HDR_ID_COUNT <= 64, "the known fields of a list are told in one word");

void headers_init(struct headers *h, struct arena *arena);
enum header_id header_id_of(struct str lower_case_name);
struct str header_id_name(enum header_id id);

struct str headers_find(const struct headers *h, struct str lower_case_name);
/* All values of one name joined by "," into the arena when there are several; STR_NONE: absent. Envoy's view of a
 * repeated header in matches. */
struct str headers_find_joined(const struct headers *h, struct str lower_case_name);
static inline bool headers_has(const struct headers *h, enum header_id id)
{
    return h->ids & HDR_BIT(id);
}
struct str headers_first(const struct headers *h, enum header_id id); /* of one that it has */
/* First field's value, or STR_NONE. */
static inline struct str headers_get(const struct headers *h, enum header_id id)
{
    return headers_has(h, id) ? headers_first(h, id) : STR_NONE;
}
/* Appends. The strings are not copied: they must live as long as the list. */
void headers_add(struct headers *h, struct str lower_case_name, struct str value);
void headers_add_id(struct headers *h, enum header_id id, struct str value);
/* Copies both strings into the arena, the name lowered. */
void headers_add_copy(struct headers *h, struct str name, struct str value);
/* Replaces the first of that name and removes the others, or appends. */
void headers_set(struct headers *h, struct str lower_case_name, struct str value);
void headers_set_id(struct headers *h, enum header_id id, struct str value);
unsigned headers_remove(struct headers *h, struct str lower_case_name); /* how many there were */
unsigned headers_remove_id(struct headers *h, enum header_id id);
void headers_remove_ids(struct headers *h, uint64_t ids); /* of HDR_BITs */
void headers_remove_at(struct headers *h, uint32_t at);
/* Makes one field, in the place of the first, of all of a name among ids (HDR_BITs): with ',' between, without empty ones. */
void headers_join_repeated(struct headers *h, uint64_t ids);
/* Deep copy into another arena. */
void headers_copy(struct headers *to, const struct headers *from, struct arena *arena);

#endif
