#include "tests/unit/proxy/world.h"

#include "proto/codec.h"
#include "sidecar/config/build.h"

#include <stdlib.h>

void world_open(struct world *w)
{
    *w = (struct world){.loop = loop_new()};
    w->main_mailbox = mailbox_new(w->loop);
    w->worker_mailbox = mailbox_new(w->loop);
    w->stats = stats_new(1);
    w->live = live_new(
        &(struct live_options){.loop = w->loop, .mailbox = w->main_mailbox, .stats = w->stats});
    w->up = upstream_new(w->loop, 1, 7);
    live_attach(w->live, w->up, w->worker_mailbox);
    w->proxy = proxy_new(&(struct proxy_options){.loop = w->loop,
                                                 .upstream = w->up,
                                                 .seed = 1,
                                                 .drain_time_ms = 100,
                                                 .drain_strategy = DRAIN_IMMEDIATE});
    snprintf(w->log_path, sizeof(w->log_path), "/tmp/outrigger-proxy-test-%d.log", getpid());
    unlink(w->log_path);
}

static void close_backend(struct backend *b)
{
    listen_stop(&b->socket);
    close(b->fd);
    for (unsigned i = 0; i < b->count; i++) {
        if (b->sides[i].conn)
            conn_close(b->sides[i].conn);
    }
}

void world_close(struct world *w)
{
    proxy_free(&w->proxy);
    for (unsigned i = 0; i < w->backend_count; i++)
        close_backend(w->backends[i]);
    loop_run_ready(w->loop);
    for (unsigned i = 0; i < w->fd_count; i++)
        close(w->fds[i]);
    live_detach(w->live, w->up);
    mailbox_free(&w->worker_mailbox);
    upstream_free(&w->up);
    live_free(&w->live);
    mailbox_free(&w->main_mailbox);
    stats_free(&w->stats);
    loop_free(&w->loop);
    for (unsigned i = 0; i < w->backend_count; i++) {
        for (unsigned j = 0; j < w->backends[i]->count; j++)
            buf_fini(&w->backends[i]->sides[j].got);
        free(w->backends[i]);
    }
    unlink(w->log_path);
}

/* ---- Configuration. ---- */

ProtobufCMessage *world_message(const char *type, const char *yaml, struct arena *arena)
{
    struct findings findings;
    struct node **docs = NULL;
    struct codec_text_options options = {.mode = CODEC_STRICT};
    ProtobufCMessage *m = NULL;
    findings_init(&findings, arena);
    if (node_parse(str_of(yaml), "test", arena, &findings, &docs) == 1)
        m = codec_from_node(codec_find_type(str_of(type)), docs[0], "", &options, arena, &findings);
    if (!m) {
        struct buf text = {0};
        findings_print_all(&findings, &text);
        fail_msg("%s", buf_take(&text));
    }
    return m;
}

static char *with_log(struct world *w, const char *yaml)
{
    static const char mark[] = "@LOG@";
    struct buf out = {0};
    const char *at;
    for (; (at = strstr(yaml, mark)); yaml = at + sizeof(mark) - 1) {
        buf_append(&out, yaml, (size_t)(at - yaml));
        buf_printf(&out,
                   "access_log: [{name: f, typed_config: {\"@type\": "
                   "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, "
                   "path: %s, log_format: "
                   "{text_format_source: {inline_string: \"%%RESPONSE_FLAGS%% %%UPSTREAM_CLUSTER%% "
                   "%%UPSTREAM_HOST%% rx "
                   "%%BYTES_RECEIVED%% tx %%BYTES_SENT%% %%RESPONSE_CODE_DETAILS%% "
                   "%%REQUESTED_SERVER_NAME%%\\n\"}}}}]",
                   w->log_path);
    }
    buf_append_c(&out, yaml);
    return buf_take(&out);
}

struct listener_cfg *world_listener_cfg(struct world *w, const char *yaml)
{
    struct arena *arena = arena_new(4096);
    struct err err = {0};
    char *copy = with_log(w, yaml);
    struct listener_cfg *cfg = build_listener(
        (const void *)world_message("envoy.config.listener.v3.Listener", copy, arena), NULL, &err);
    if (!cfg)
        fail_msg("%s", err.text);
    cfg->version_hash = (uint64_t)(uintptr_t)cfg;
    free(copy);
    arena_free(&arena);
    return cfg;
}

void world_put(struct world *w, struct listener_cfg *cfg, int fd)
{
    assert_int_equal(cfg->address_count, 1);
    proxy_put_listener(w->proxy, listener_new(cfg, w->stats, 1, w->main_mailbox), fd < 0 ? NULL : &fd);
}

struct addr world_listen(struct world *w, const char *yaml)
{
    struct addr at;
    addr_parse(STR("127.0.0.1:0"), &at);
    int fd = listen_bind(&at, NULL);
    assert_true(fd >= 0 && w->fd_count < WORLD_MAX);
    w->fds[w->fd_count++] = fd;
    world_put(w, world_listener_cfg(w, yaml), fd);
    return pair_bound_addr(fd);
}

void world_cluster(struct world *w, const char *yaml)
{
    struct arena *arena = arena_new(4096);
    struct err err = {0};
    struct cluster_cfg *cfg = build_cluster(
        (const void *)world_message("envoy.config.cluster.v3.Cluster", yaml, arena), NULL, &err);
    if (!cfg)
        fail_msg("%s", err.text);
    live_put_cluster(w->live, cfg);
    arena_free(&arena);
    loop_run_ready(w->loop);
}

void world_cluster_at(struct world *w, const char *name, const struct addr *at, const char *extra)
{
    char *yaml = xasprintf(
        "{name: %s, type: STATIC, connect_timeout: 1s, load_assignment: {cluster_name: %s, "
        "endpoints: "
        "[{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: "
        "%u}}}}]}]}%s%s}",
        name, name, addr_port(at), extra[0] ? ", " : "", extra);
    world_cluster(w, yaml);
    free(yaml);
}

/* ---- Peers. ---- */

static void on_accept(void *ctx, int fd, const struct addr *peer)
{
    struct backend *b = ctx;
    struct side *s = &b->sides[b->count++];
    (void)peer;
    assert_true(b->count <= WORLD_MAX);
    assert_int_equal(conn_adopt(b->world->loop, fd, NULL, &s->conn), 0);
    conn_set_handler(s->conn, &side_handler, s);
}

struct backend *world_backend(struct world *w)
{
    struct backend *b = NEW(struct backend);
    struct addr at;
    addr_parse(STR("127.0.0.1:0"), &at);
    b->world = w;
    b->fd = listen_bind(&at, NULL);
    b->at = pair_bound_addr(b->fd);
    b->socket = listen_start(w->loop, b->fd, on_accept, b);
    w->backends[w->backend_count++] = b;
    return b;
}

void world_dial(struct world *w, struct side *side, const struct addr *to)
{
    buf_fini(&side->got);
    *side = (struct side){.conn = dial(w->loop, to, NULL)};
    conn_set_handler(side->conn, &side_handler, side);
}

struct addr world_dead_addr(void)
{
    struct addr at;
    addr_parse(STR("127.0.0.1:0"), &at);
    int fd = listen_bind(&at, NULL);
    at = pair_bound_addr(fd);
    close(fd);
    return at;
}

/* ---- Looking. ---- */

uint64_t world_stat(struct world *w, const char *name)
{
    uint64_t value = 0;
    live_collect(w->live);
    if (!stats_find(w->stats, str_of(name), &value))
        fail_msg("no statistic %s", name);
    return value;
}

const char *world_log(struct world *w)
{
    static char text[4096];
    access_log_flush_all(w->proxy ? w->proxy->row : 1);
    assert_true(access_log_drain(2000));
    FILE *f = fopen(w->log_path, "r");
    size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
    text[n] = '\0';
    if (f)
        fclose(f);
    return text;
}

static void stop(struct timer *t)
{
    loop_stop(t->loop);
}

void world_run_ms(struct world *w, uint64_t ms)
{
    struct timer t;
    timer_init(&t, w->loop, stop);
    timer_arm(&t, ms);
    loop_run(w->loop);
    timer_disarm(&t);
}
