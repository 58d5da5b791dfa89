/* The operators: one table, and the few functions that it needs, since most operators print a
 * member of struct stream_info. What Envoy knows and this table does not is refused by name where
 * the format is compiled. No state. */
#include "sidecar/observe/format_priv.h"

#include "sidecar/base/clock.h"
#include "sidecar/base/die.h"

#include <string.h>

/* ---- Reading members. ---- */

static const void *member(const struct format_input *in, size_t offset)
{
    return (const char *)in->info + offset;
}

static struct str str_member(const struct format_input *in, size_t offset)
{
    return *(const struct str *)member(in, offset);
}

static uint64_t u64_member(const struct format_input *in, size_t offset)
{
    return *(const uint64_t *)member(in, offset);
}

static bool append_if_any(struct buf *out, struct str s)
{
    if (s.n == 0)
        return false;
    buf_append_str(out, s);
    return true;
}

/* The colon before the port: "1.2.3.4:80", "[::1]:80"; -1 for a path or a bare name. */
static ptrdiff_t port_colon(struct str address)
{
    for (size_t i = address.n; i > 0; i--) {
        if (address.p[i - 1] == ':')
            return (ptrdiff_t)i - 1;
        if (address.p[i - 1] < '0' || address.p[i - 1] > '9')
            return -1;
    }
    return -1;
}

/* ---- Functions of the table. ---- */

static bool op_str(const struct piece *p, const struct format_input *in, struct buf *out)
{
    return append_if_any(out, str_member(in, p->op->a));
}

/* Addresses as text, the upstream's own only once there is a connection (b: its local end). */
static bool op_remote(const struct piece *p, const struct format_input *in, struct buf *out)
{
    return str_member(in, p->op->b).n > 0 && append_if_any(out, str_member(in, p->op->a));
}

static bool op_without_port(const struct piece *p, const struct format_input *in, struct buf *out)
{
    struct str s = str_member(in, p->op->a);
    ptrdiff_t colon = port_colon(s);
    if (str_member(in, p->op->b).n == 0)
        return false;
    if (colon < 0)
        return append_if_any(out, s);
    s = str_sub(s, 0, (size_t)colon);
    if (str_has_prefix(s, STR("[")) && str_has_suffix(s, STR("]")))
        s = str_sub(s, 1, s.n - 2);
    return append_if_any(out, s);
}

static bool op_port(const struct piece *p, const struct format_input *in, struct buf *out)
{
    struct str s = str_member(in, p->op->a);
    ptrdiff_t colon = port_colon(s);
    if (str_member(in, p->op->b).n == 0 || colon < 0)
        return false;
    return append_if_any(out, str_sub(s, (size_t)colon + 1, SIZE_MAX));
}

static void append_without_spaces(struct buf *out, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool is_space = c == ' ' || (c >= '\t' && c <= '\r');
        buf_append_byte(out, is_space ? '_' : (uint8_t)c);
    }
}

/* A reason stays one word, for tools that split the line at spaces. text is set: spaces are
 * allowed. */
static bool op_reason(const struct piece *p, const struct format_input *in, struct buf *out)
{
    struct str s = str_member(in, p->op->a);
    if (p->text.n > 0)
        return append_if_any(out, s);
    append_without_spaces(out, s);
    return s.n > 0;
}

static bool op_tls(const struct piece *p, const struct format_input *in, struct buf *out)
{
    const struct tls_facts *f = in->info->downstream_tls;
    return f && append_if_any(out, *(const struct str *)(const void *)((const char *)f + p->op->a));
}

static bool op_c_string(const struct piece *p, const struct format_input *in, struct buf *out)
{
    return append_if_any(out, str_of(*(const char *const *)member(in, p->op->a)));
}

/* Empty where there is none, and never absent. */
static bool op_text(const struct piece *p, const struct format_input *in, struct buf *out)
{
    buf_append_str(out, str_member(in, p->op->a));
    return true;
}

static bool op_u64(const struct piece *p, const struct format_input *in, struct buf *out)
{
    buf_append_u64(out, u64_member(in, p->op->a));
    return true;
}

static bool op_attempts(const struct piece *p, const struct format_input *in, struct buf *out)
{
    (void)p;
    buf_append_u64(out, in->info->attempts);
    return true;
}

static bool op_response_code(const struct piece *p, const struct format_input *in, struct buf *out)
{
    (void)p;
    buf_append_u64(out, in->info->response_code);
    return true;
}

/* Milliseconds between two points in time. */
static bool op_span(const struct piece *p, const struct format_input *in, struct buf *out)
{
    uint64_t from = u64_member(in, p->op->a), to = u64_member(in, p->op->b);
    if (from == 0 || to == 0)
        return false;
    buf_append_u64(out, to > from ? (to - from) / 1000000 : 0);
    return true;
}

static bool op_start_time(const struct piece *p, const struct format_input *in, struct buf *out)
{
    time_format_run(p->time, in->info->start_wall_us, out);
    return true;
}

static bool op_emit_time(const struct piece *p, const struct format_input *in, struct buf *out)
{
    (void)in;
    time_format_run(p->time, clock_wall_us(), out);
    return true;
}

static struct str lookup(const struct piece *p, const struct format_input *in, struct str name)
{
    return name.n > 0 && in->headers ? in->headers(in->ctx, p->op->which, name) : STR_NONE;
}

static bool op_header(const struct piece *p, const struct format_input *in, struct buf *out)
{
    struct str value = lookup(p, in, p->text);
    if (!value.p)
        value = lookup(p, in, p->alternative);
    if (value.p) {
        buf_append_str(out, value);
        return true;
    }
    if (p->op->which != 'r' || !str_eq(p->text, STR(":status")) || in->info->response_code == 0)
        return false;
    buf_append_u64(out, in->info->response_code);
    return true;
}

static bool op_flags(const struct piece *p, const struct format_input *in, struct buf *out)
{
    unsigned count = (unsigned)__builtin_popcountll(in->info->flags);
    for (unsigned i = 0; i < count; i++) {
        enum response_flag f = in->info->flag_order[i];
        buf_append_c(out, i == 0 ? "" : ",");
        buf_append_c(out, p->op->which == 'l' ? response_flag_long(f) : response_flag_short(f));
    }
    /* Even in JSON, where other absent values are null. */
    if (count == 0)
        buf_append_byte(out, '-');
    return true;
}

static const struct {
    const char *camel, *snake;
} grpc_names[] = {
    {"OK", "OK"},
    {"Canceled", "CANCELLED"},
    {"Unknown", "UNKNOWN"},
    {"InvalidArgument", "INVALID_ARGUMENT"},
    {"DeadlineExceeded", "DEADLINE_EXCEEDED"},
    {"NotFound", "NOT_FOUND"},
    {"AlreadyExists", "ALREADY_EXISTS"},
    {"PermissionDenied", "PERMISSION_DENIED"},
    {"ResourceExhausted", "RESOURCE_EXHAUSTED"},
    {"FailedPrecondition", "FAILED_PRECONDITION"},
    {"Aborted", "ABORTED"},
    {"OutOfRange", "OUT_OF_RANGE"},
    {"Unimplemented", "UNIMPLEMENTED"},
    {"Internal", "INTERNAL"},
    {"Unavailable", "UNAVAILABLE"},
    {"DataLoss", "DATA_LOSS"},
    {"Unauthenticated", "UNAUTHENTICATED"},
};

static bool op_grpc(const struct piece *p, const struct format_input *in, struct buf *out)
{
    int status = in->info->grpc_status;
    if (status < 0)
        return false;
    if (p->op->which == 'n' || (size_t)status >= ARRAY_LEN(grpc_names))
        buf_append_u64(out, (uint64_t)status);
    else
        buf_append_c(out,
                     p->op->which == 's' ? grpc_names[status].snake : grpc_names[status].camel);
    return true;
}

/* Known since the format was compiled. */
static bool op_fixed(const struct piece *p, const struct format_input *in, struct buf *out)
{
    (void)in;
    if (!p->text.p)
        return false;
    buf_append_str(out, p->text);
    return true;
}

/* ---- The table. ---- */

#define AT(member_) offsetof(struct stream_info, member_)
#define TEXT_OP(name_, member_)                       \
    {                                                 \
        .name = name_, .fn = op_str, .a = AT(member_) \
    }
#define TLS_OP(name_, member_)                                           \
    {                                                                    \
        .name = name_, .fn = op_tls, .a = offsetof(struct tls_facts, member_) \
    }
#define NUMBER_OP(name_, member_)                                        \
    {                                                                    \
        .name = name_, .fn = op_u64, .is_number = true, .a = AT(member_) \
    }
#define SPAN_OP(name_, from, to)                                                    \
    {                                                                               \
        .name = name_, .fn = op_span, .is_number = true, .a = AT(from), .b = AT(to) \
    }
#define HEADER_OP(name_, which_)                                                 \
    {                                                                            \
        .name = name_, .fn = op_header, .params = PARAMS_HEADER, .which = which_ \
    }
/* An address in its three forms; it counts only where the member `when` is there too. */
#define ADDRESS_OPS(prefix, suffix, member_, when)                                                \
    {.name = prefix suffix, .fn = op_remote, .a = AT(member_), .b = AT(when)},                    \
        {.name = prefix suffix "_WITHOUT_PORT",                                                   \
         .fn = op_without_port,                                                                   \
         .a = AT(member_),                                                                        \
         .b = AT(when)},                                                                          \
    {                                                                                             \
        .name = prefix "_PORT", .fn = op_port, .is_number = true, .a = AT(member_), .b = AT(when) \
    }

static const struct operator operators[] = {
    {.name = "START_TIME", .fn = op_start_time, .params = PARAMS_TIME},
    {.name = "START_TIME_LOCAL", .fn = op_start_time, .params = PARAMS_TIME, .which = 'l'},
    {.name = "EMIT_TIME", .fn = op_emit_time, .params = PARAMS_TIME},
    {.name = "EMIT_TIME_LOCAL", .fn = op_emit_time, .params = PARAMS_TIME, .which = 'l'},
    HEADER_OP("REQ", 'q'),
    HEADER_OP("REQUEST_HEADER", 'q'),
    HEADER_OP("RESP", 'r'),
    HEADER_OP("RESPONSE_HEADER", 'r'),
    HEADER_OP("TRAILER", 't'),
    HEADER_OP("RESPONSE_TRAILER", 't'),
    SPAN_OP("DURATION", start_ns, end_ns),
    SPAN_OP("REQUEST_DURATION", start_ns, request_end_ns),
    SPAN_OP("REQUEST_TX_DURATION", start_ns, upstream_last_tx_ns),
    SPAN_OP("RESPONSE_DURATION", start_ns, upstream_first_rx_ns),
    SPAN_OP("RESPONSE_TX_DURATION", upstream_first_rx_ns, end_ns),
    {.name = "PROTOCOL", .fn = op_c_string, .a = AT(protocol)},
    {.name = "UPSTREAM_PROTOCOL", .fn = op_c_string, .a = AT(upstream_protocol)},
    {.name = "RESPONSE_CODE", .fn = op_response_code, .is_number = true},
    {.name = "RESPONSE_CODE_DETAILS",
     .fn = op_reason,
     .params = PARAMS_SPACES,
     .a = AT(response_code_details)},
    {.name = "RESPONSE_FLAGS", .fn = op_flags},
    {.name = "LOCAL_REPLY_BODY", .fn = op_text, .a = AT(local_reply_body)},
    {.name = "RESPONSE_FLAGS_LONG", .fn = op_flags, .which = 'l'},
    TEXT_OP("CONNECTION_TERMINATION_DETAILS", connection_termination_details),
    {.name = "UPSTREAM_TRANSPORT_FAILURE_REASON", .fn = op_reason, .a = AT(upstream_failure)},
    NUMBER_OP("BYTES_RECEIVED", bytes_received),
    NUMBER_OP("BYTES_SENT", bytes_sent),
    NUMBER_OP("UPSTREAM_WIRE_BYTES_SENT", upstream_wire_bytes_sent),
    NUMBER_OP("UPSTREAM_WIRE_BYTES_RECEIVED", upstream_wire_bytes_received),
    NUMBER_OP("DOWNSTREAM_WIRE_BYTES_SENT", downstream_wire_bytes_sent),
    NUMBER_OP("DOWNSTREAM_WIRE_BYTES_RECEIVED", downstream_wire_bytes_received),
    TEXT_OP("UPSTREAM_HOST", upstream_host),
    TEXT_OP("UPSTREAM_CLUSTER", upstream_cluster),
    TEXT_OP("UPSTREAM_CLUSTER_RAW", upstream_cluster),
    ADDRESS_OPS("UPSTREAM_LOCAL", "_ADDRESS", upstream_local, upstream_local),
    ADDRESS_OPS("UPSTREAM_REMOTE", "_ADDRESS", upstream_host, upstream_local),
    ADDRESS_OPS("DOWNSTREAM_REMOTE", "_ADDRESS", downstream_remote, downstream_remote),
    ADDRESS_OPS("DOWNSTREAM_LOCAL", "_ADDRESS", downstream_local, downstream_local),
    ADDRESS_OPS("DOWNSTREAM_DIRECT_REMOTE", "_ADDRESS", downstream_direct_remote,
                downstream_direct_remote),
    {.name = "UPSTREAM_REQUEST_ATTEMPT_COUNT", .fn = op_attempts, .is_number = true},
    TEXT_OP("REQUESTED_SERVER_NAME", requested_server_name),
    TLS_OP("DOWNSTREAM_TLS_VERSION", version),
    TLS_OP("DOWNSTREAM_TLS_CIPHER", cipher),
    TLS_OP("DOWNSTREAM_TLS_SESSION_ID", session_id),
    TLS_OP("DOWNSTREAM_PEER_SUBJECT", peer_subject),
    TLS_OP("DOWNSTREAM_PEER_ISSUER", peer_issuer),
    TLS_OP("DOWNSTREAM_PEER_SERIAL", peer_serial),
    TLS_OP("DOWNSTREAM_PEER_FINGERPRINT_256", peer_fingerprint_256),
    TLS_OP("DOWNSTREAM_PEER_URI_SAN", peer_uris),
    TLS_OP("DOWNSTREAM_PEER_DNS_SAN", peer_names),
    TLS_OP("DOWNSTREAM_PEER_EMAIL_SAN", peer_emails),
    TLS_OP("DOWNSTREAM_PEER_IP_SAN", peer_ips),
    TLS_OP("DOWNSTREAM_LOCAL_SUBJECT", local_subject),
    TLS_OP("DOWNSTREAM_LOCAL_URI_SAN", local_uris),
    TLS_OP("DOWNSTREAM_LOCAL_DNS_SAN", local_names),
    {.name = "DOWNSTREAM_TRANSPORT_FAILURE_REASON", .fn = op_reason, .a = AT(downstream_failure)},
    TEXT_OP("ROUTE_NAME", route_name),
    NUMBER_OP("CONNECTION_ID", connection_id),
    {.name = "GRPC_STATUS", .fn = op_grpc, .params = PARAMS_GRPC, .which = 'c'},
    {.name = "GRPC_STATUS_NUMBER", .fn = op_grpc, .is_number = true, .which = 'n'},
    {.name = "HOSTNAME", .fn = op_fixed, .params = PARAMS_HOSTNAME},
    {.name = "ENVIRONMENT", .fn = op_fixed, .params = PARAMS_ENVIRONMENT},
};

static const struct operator grpc_snake = {.name = "GRPC_STATUS", .fn = op_grpc, .which = 's'};

const struct operator* operator_find(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(operators); i++)
        if (str_eq_c(name, operators[i].name))
            return &operators[i];
    return NULL;
}

const struct operator* operator_grpc_variant(struct str name)
{
    if (name.n == 0 || str_eq(name, STR("CAMEL_STRING")))
        return operator_find(STR("GRPC_STATUS"));
    if (str_eq(name, STR("SNAKE_STRING")))
        return &grpc_snake;
    return str_eq(name, STR("NUMBER")) ? operator_find(STR("GRPC_STATUS_NUMBER")) : NULL;
}
