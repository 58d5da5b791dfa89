/* A request over a real listener and a host that does what the row says, and what has to come of it. Times are short and
 * real; the policies' own arithmetic is tested with a fake clock in unit/resilience and unit/balance. */
#ifndef OUTRIGGER_TESTS_UNIT_PROXY_EXCHANGE_ROWS_H
#define OUTRIGGER_TESTS_UNIT_PROXY_EXCHANGE_ROWS_H

#include "tests/unit/proxy/world.h"

#include <stdlib.h>
#include <sys/socket.h>

#define ATTEMPTS_MAX 6

/* What the host does with its n-th request: bytes that it sends, or a word. "bytes|FIN" sends, then
 * closes. */
#define HANG "HANG"
#define FIN "FIN"
#define RST "RST"
#define H2_RESET "H2_RESET" /* SETTINGS, and RST_STREAM for the first stream: INTERNAL_ERROR */
#define OK "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
#define CODE(code) "HTTP/1.1 " code " Whatever\r\ncontent-length: 4\r\n\r\nhost"

struct row {
    const char *name;
    const char *request;
    const char *cluster, *route, *manager; /* more fields of these; "" for none */
    const char *host[ATTEMPTS_MAX];
    const char *to; /* NULL: the host; "none", "dead", "silent" (a SYN is never answered), "drops"
                       (by the endpoints' policy) */
    unsigned status;
    const char *body;         /* part of it */
    const char *flags;        /* whole */
    const char *details;      /* part of it */
    const char *beside;       /* more fields of the route around its action */
    const char *vhost;        /* more fields of the virtual host; NULL: none */
    const char *later;        /* what the client sends a moment after the host answered */
    const char *header;       /* part of the answer's head; "!x": not there */
    const char *stats[6];     /* "cluster.c.NAME=VALUE" */
    const char *meanwhile[4]; /* the same, a moment after the host answered first */
    const char *seen;         /* part of what the host was sent */
};

static struct world w;
static struct side client;

#define TYPE(name) "\"@type\": type.googleapis.com/envoy.extensions." name
#define GET "GET / HTTP/1.1\r\nhost: a\r\n\r\n"
#define GET_WITH(header) "GET / HTTP/1.1\r\nhost: a\r\n" header "\r\n\r\n"
#define GRPC GET_WITH("content-type: application/grpc\r\nte: trailers")
#define GRPC_WITHIN(time) GET_WITH("content-type: application/grpc\r\nte: trailers\r\ngrpc-timeout: " time)
#define HALF "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf"
#define POST "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody"
#define RETRY(fields) "retry_policy: {retry_back_off: {base_interval: 0.001s, max_interval: 0.001s}, " fields "}"
#define LIMITS(fields) "circuit_breakers: {thresholds: [{" fields "}]}"
#define INTERNAL                                                                          \
    "use_remote_address: true, internal_address_config: {cidr_ranges: [{address_prefix: " \
    "127.0.0.0, prefix_len: 8}]}"
#define COMMON(fields)                                                                            \
    "typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: " \
    "{" TYPE("upstreams.http.v3.HttpProtocolOptions") ", explicit_http_config: "                  \
                                                      "{http_protocol_options: {}}, "             \
                                                      "common_http_protocol_options: {" fields "}}}"
#define BEFORE(reason) "upstream connect error or disconnect/reset before headers. reset reason: " reason
#define RETRIED(reason)                                                                        \
    "upstream connect error or disconnect/reset before headers. retried and the latest reset " \
    "reason: " reason

/* ---- The host. ---- */

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static void act(struct conn *c, const char *what)
{
    size_t n = strlen(what);
    bool then_fin = ends_with(what, "|FIN");
    if (strcmp(what, HANG) == 0)
        return;
    if (strcmp(what, RST) == 0) {
        struct linger linger = {.l_onoff = 1};
        setsockopt(conn_fd(c), SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
        conn_close(c);
        return;
    }
    if (strcmp(what, FIN) == 0) {
        conn_close(c);
        return;
    }
    if (strcmp(what, H2_RESET) == 0) {
        static const uint8_t frames[] = {0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 2};
        conn_write(c, frames, sizeof(frames));
        return;
    }
    conn_write(c, what, then_fin ? n - 4 : n);
    if (then_fin)
        conn_close_after_flush(c, 0);
}

/* Answers each request whose head has come, in the order of their coming. */
static void serve(struct backend *b, const struct row *row, unsigned *answered, struct buf *seen)
{
    for (unsigned i = 0; i < b->count; i++) {
        struct side *s = &b->sides[i];
        if (!s->conn || str_find(buf_str(&s->got), STR("\r\n\r\n")) < 0)
            continue;
        buf_append(seen, buf_head(&s->got), buf_len(&s->got));
        buf_clear(&s->got);
        assert_true(*answered < ATTEMPTS_MAX && row->host[*answered]);
        act(s->conn, row->host[(*answered)++]);
    }
}

/* A port whose queue is full: SYNs are dropped. */
static struct addr silent_addr(int *fds, unsigned count)
{
    struct addr at;
    addr_parse(STR("127.0.0.1:0"), &at);
    fds[0] = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fds[0], &at.sa, at.len), 0);
    assert_int_equal(listen(fds[0], 0), 0);
    at = pair_bound_addr(fds[0]);
    for (unsigned i = 1; i < count; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(fds[i], &at.sa, at.len);
    }
    return at;
}

/* ---- One row. ---- */

/* In front of more fields. */
static const char *comma(const char *fields)
{
    return fields && fields[0] ? ", " : "";
}

static char *listener_of(const struct row *row)
{
    static const char router[] = TYPE("filters.http.router.v3.Router");
    static const char manager[] = TYPE("filters.network.http_connection_manager.v3.HttpConnectionManager");
    char *routes = xasprintf("{match: {prefix: /nowhere}, route: {cluster: nowhere}}, "
                             "{match: {prefix: /}, route: {cluster: c%s%s}%s}",
                             comma(row->route), row->route, row->beside ? row->beside : "");
    char *host = xasprintf("{name: v, domains: [\"*\"], include_request_attempt_count: true, "
                           "include_attempt_count_in_response: true%s%s, routes: [%s]}",
                           comma(row->vhost), row->vhost ? row->vhost : "", routes);
    char *listener = xasprintf(
        "{name: l, stat_prefix: l, address: {socket_address: {address: 127.0.0.1, port_value: 1}}, filter_chains: "
        "[{filters: [{name: h, typed_config: {%s, stat_prefix: h, @LOG@, http_filters: [{name: r, typed_config: {%s}}]"
        "%s%s, route_config: {name: r, validate_clusters: false, virtual_hosts: [%s]}}}]}]}",
        manager, router, comma(row->manager), row->manager, host);
    free(routes);
    free(host);
    return listener;
}

static bool is_answered(void)
{
    struct str got = buf_str(&client.got);
    return client.eof_calls + client.end_calls > 0 || str_find(got, STR("\r\n\r\n")) >= 0;
}

static void check_stats(const char *row, const char *const *stats)
{
    for (; *stats; stats++) {
        const char *eq = strchr(*stats, '=');
        char name[96];
        snprintf(name, sizeof(name), "%.*s", (int)(eq - *stats), *stats);
        unsigned wanted = (unsigned)atoi(eq + 1), waited = 0;
        for (; world_stat(&w, name) != wanted && waited < 1000; waited++) /* what ends late is counted late */
            world_run_ms(&w, 1);
        if (waited == 1000)
            fail_msg("%s: expected %s, got %llu", row, *stats, (unsigned long long)world_stat(&w, name));
    }
}

/* A moment after the host's first answer. */
static void meanwhile(const struct row *row)
{
    if (row->later)
        conn_write(client.conn, row->later, strlen(row->later));
    check_stats(row->name, row->meanwhile);
}

/* The log line is "FLAGS CLUSTER HOST rx N tx N DETAILS SNI". */
static void check_log(const struct row *row)
{
    const char *line = "";
    for (unsigned i = 0; i < 2000 && !line[0]; i++) {
        world_run_ms(&w, 1);
        line = world_log(&w);
    }
    size_t n = strlen(row->flags);
    if (strncmp(line, row->flags, n) != 0 || line[n] != ' ' || !strstr(line, row->details))
        fail_msg("%s: logged \"%s\", expected %s ... %s", row->name, line, row->flags, row->details);
}

static void check_answer(const struct row *row, const struct buf *seen)
{
    char status[32];
    struct str got = buf_str(&client.got);
    bool is_unwanted = row->header && row->header[0] == '!';
    snprintf(status, sizeof(status), "HTTP/1.1 %u ", row->status);
    if (row->status == 0 ? got.n > 0 : !str_has_prefix(got, str_of(status)))
        fail_msg("%s: got \"%.*s\"", row->name, STR_FMT(got));
    if (row->body && str_find(got, str_of(row->body)) < 0)
        fail_msg("%s: no \"%s\" in \"%.*s\"", row->name, row->body, STR_FMT(got));
    if (row->header && (str_find(got, str_of(row->header + is_unwanted)) >= 0) == is_unwanted)
        fail_msg("%s: about \"%s\": \"%.*s\"", row->name, row->header, STR_FMT(got));
    if (row->seen && str_find(buf_str(seen), str_of(row->seen)) < 0)
        fail_msg("%s: the host saw no \"%s\" but \"%.*s\"", row->name, row->seen, STR_FMT(buf_str(seen)));
}

static void put_cluster(const struct row *row, const struct backend *b, int *fds, unsigned fd_count)
{
    const char *to = row->to ? row->to : "";
    struct addr at = b->at;
    if (strcmp(to, "none") == 0) {
        world_cluster(&w, "{name: c, type: STATIC, connect_timeout: 1s}");
        return;
    }
    if (strcmp(to, "drops") == 0) {
        world_cluster(&w, "{name: c, type: STATIC, connect_timeout: 1s, load_assignment: {cluster_name: c, "
                          "policy: {drop_overloads: [{category: x, drop_percentage: {numerator: 100}}]}}}");
        return;
    }
    if (strcmp(to, "dead") == 0)
        at = world_dead_addr();
    else if (strcmp(to, "silent") == 0)
        at = silent_addr(fds, fd_count);
    world_cluster_at(&w, "c", &at, row->cluster);
}

static void run(const struct row *row)
{
    int fds[4] = {-1, -1, -1, -1};
    unsigned answered = 0, rounds = 0, waited = 0;
    struct buf seen = {0};
    world_open(&w);
    client = (struct side){0};
    struct backend *b = world_backend(&w);
    put_cluster(row, b, fds, ARRAY_LEN(fds));
    char *yaml = listener_of(row);
    struct addr at = world_listen(&w, yaml);
    free(yaml);
    world_dial(&w, &client, &at);
    conn_write(client.conn, row->request, strlen(row->request));
    for (; !is_answered(); world_run_ms(&w, 1)) {
        serve(b, row, &answered, &seen);
        if (++rounds > 4000)
            fail_msg("%s: no answer", row->name);
        if (answered == 1 && ++waited == 30)
            meanwhile(row);
        if (row->status == 0 && rounds == 50 && client.conn)
            conn_close(client.conn); /* it leaves */
    }
    for (unsigned i = 0; row->body && str_find(buf_str(&client.got), str_of(row->body)) < 0 && i < 1000; i++)
        world_run_ms(&w, 1);
    check_answer(row, &seen);
    check_log(row);
    check_stats(row->name, row->stats);
    unsigned scripted = 0;
    while (scripted < ATTEMPTS_MAX && row->host[scripted])
        scripted++;
    if (answered != scripted)
        fail_msg("%s: %u requests came to the host, expected %u", row->name, answered, scripted);
    world_close(&w);
    buf_fini(&client.got);
    buf_fini(&seen);
    for (unsigned i = 0; i < ARRAY_LEN(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

#define RUN(rows)                                    \
    do {                                             \
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) \
            run(&(rows)[i]);                         \
    } while (0)

#endif
