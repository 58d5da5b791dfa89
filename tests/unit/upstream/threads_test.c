/* Two workers with loops of their own over the clusters of one main, under load: limits hold over both, a failing host goes,
 * and endpoints and clusters change meanwhile. The sanitizer for threads watches. */
#include "tests/unit/upstream/upstream_support.h"

#include "sidecar/http/stream.h"
#include "sidecar/net/timer.h"
#include "sidecar/upstream/pool.h"

#include <pthread.h>

#define WORKERS 2
#define CLIENTS 8    /* of each worker, a request at a time each */
#define REQUESTS 150 /* of each client */
#define MAX_RQ 3
#define MAX_RETRIES 1

/* ---- Hosts, on main's loop: they answer a moment later. ---- */

struct server;
struct served {
    struct list link;
    struct server *server;
    struct stream *stream;
};
struct server {
    struct loop *loop;
    int fd;
    uint16_t port;
    unsigned status;
    struct listen_socket *socket;
    struct list waiting;
    struct timer timer;
    unsigned *at_once, *at_once_most; /* of all servers */
};

static void on_request(struct stream *s, void *ctx, struct http_request *request, bool end)
{
    struct served *served = ctx;
    struct server *server = served->server;
    (void)s;
    (void)request;
    (void)end;
    if (++*server->at_once > *server->at_once_most)
        *server->at_once_most = *server->at_once;
    list_push_back(&server->waiting, &served->link);
    if (!timer_is_armed(&server->timer))
        timer_arm(&server->timer, 1);
}

static void on_served_end(struct stream *s, void *ctx, enum stream_reset reason, const char *details)
{
    struct served *served = ctx;
    (void)s;
    (void)reason;
    (void)details;
    if (list_is_linked(&served->link)) { /* given up before it was answered */
        list_remove(&served->link);
        --*served->server->at_once;
    }
    free(served);
}

static void on_served(struct codec *c, void *ctx, struct stream *s)
{
    static const struct stream_handler handler = {.on_request = on_request, .on_stream_end = on_served_end};
    struct served *served = NEW(struct served);
    (void)c;
    served->server = ctx;
    list_init(&served->link);
    served->stream = s;
    stream_set_handler(s, &handler, served);
}

static void on_server_codec_end(struct codec *c, void *ctx, enum conn_end end, const char *details)
{
    (void)c;
    (void)ctx;
    (void)end;
    (void)details;
}

static void on_server_accept(void *ctx, int fd, const struct addr *from)
{
    static const struct codec_handler handler = {.on_stream = on_served, .on_codec_end = on_server_codec_end};
    struct server *server = ctx;
    struct conn *c;
    (void)from;
    assert_int_equal(conn_adopt(server->loop, fd, NULL, &c), 0);
    h1_server_new(c, &(struct codec_options){0}, &handler, server);
}

static void on_answers_due(struct timer *t)
{
    struct server *server = CONTAINER_OF(t, struct server, timer);
    for (struct list *link; (link = list_pop_front(&server->waiting)) != NULL;) {
        struct stream *s = CONTAINER_OF(link, struct served, link)->stream;
        struct arena *arena = arena_new(256);
        struct http_response r;
        http_response_init(&r, arena);
        r.status = server->status;
        r.content_length = 0;
        --*server->at_once;
        stream_send_response(s, &r, true);
        arena_free(&arena);
    }
}

static void server_open(struct server *server, struct loop *loop, unsigned status, unsigned *at_once, unsigned *most)
{
    *server = (struct server){.loop = loop, .status = status, .at_once = at_once, .at_once_most = most};
    list_init(&server->waiting);
    timer_init(&server->timer, loop, on_answers_due);
    server->fd = listen_here(&server->port);
    server->socket = listen_start(loop, server->fd, on_server_accept, server);
}

static void server_close(struct server *server)
{
    listen_stop(&server->socket);
    timer_disarm(&server->timer);
    close(server->fd);
}

/* ---- Workers. ---- */

struct bench;
struct client {
    struct worker *worker;
    struct pool_request rq;
    struct cluster *cluster;
    struct host *host;
    struct arena *arena;
    struct permit retry;
    struct timer timer;
    unsigned done;
};
struct worker {
    struct bench *bench;
    pthread_t thread;
    struct loop *loop;
    struct mailbox *mailbox;
    struct upstream *up;
    struct client clients[CLIENTS];
    unsigned busy, over, answered, failed, refused, retried, spared;
};
struct bench {
    struct loop *loop;
    struct mailbox *mailbox;
    struct stats *stats;
    struct live *live;
    struct worker workers[WORKERS];
    unsigned ended; /* workers whose clients are done */
};

static void next(struct client *c);

static void count_over(struct worker *w, struct cluster *cluster)
{
    const struct breaker *b = cluster_breaker(cluster, false);
    w->over += breaker_active(b, BREAKER_RQ) > MAX_RQ;
    w->over += breaker_active(b, BREAKER_RETRY) > MAX_RETRIES;
}

static void end_request(struct client *c)
{
    host_unref(c->host);
    upstream_release(&c->cluster);
    arena_free(&c->arena);
    timer_arm(&c->timer, 1); /* with or without a retry's permit in hand */
}

static void on_client_timer(struct timer *t)
{
    struct client *c = CONTAINER_OF(t, struct client, timer);
    permit_release(&c->retry);
    next(c);
}

static void send_request(struct client *c)
{
    count_over(c->worker, c->cluster);
    send_get(c->rq.stream, c->arena);
}

static void on_response(struct stream *s, void *ctx, struct http_response *response, bool end)
{
    struct client *c = ctx;
    (void)s;
    (void)end;
    cluster_report_answer(c->cluster, c->host, response->status, response->status);
    c->worker->answered++;
    if (response->status == 200)
        return;
    c->worker->failed++;
    if (permit_admit(&c->retry, cluster_breaker(c->cluster, false), BREAKER_RETRY))
        c->worker->retried++;
    else
        c->worker->spared++;
    count_over(c->worker, c->cluster);
}

static void on_stream_end(struct stream *s, void *ctx, enum stream_reset reason, const char *details)
{
    struct client *c = ctx;
    (void)s;
    (void)details;
    pool_request_close(&c->rq, reason);
    c->done++;
    end_request(c);
}

static void on_stream(struct pool_request *rq, void *ctx, struct stream *s)
{
    (void)rq;
    (void)s;
    send_request(ctx);
}

static void on_failure(struct pool_request *rq, void *ctx, enum upstream_failure f, const char *detail)
{
    struct client *c = ctx;
    (void)rq;
    (void)detail;
    c->worker->refused += f == UPSTREAM_OVERFLOW_RQ;
    end_request(c);
}

static void worker_ended(void *arg)
{
    ((struct bench *)arg)->ended++;
}

static void next(struct client *c)
{
    static const struct stream_handler stream_handler = {.on_response = on_response, .on_stream_end = on_stream_end};
    static const struct pool_request_handler handler = {on_stream, on_failure};
    struct worker *w = c->worker;
    if (c->done == REQUESTS) {
        if (--w->busy == 0)
            mailbox_post(w->bench->mailbox, worker_ended, w->bench);
        return;
    }
    c->cluster = upstream_acquire(w->up, STR("a"));
    assert(c->cluster);
    c->host = cluster_pick(c->cluster, &(struct upstream_ctx){0});
    assert(c->host);
    host_ref(c->host);
    c->arena = arena_new(1024);
    c->rq = (struct pool_request){0};
    const struct pool_options o = {.downstream_version = HTTP_1_1, .arena = c->arena, .stream_handler = &stream_handler, .stream_ctx = c};
    enum upstream_failure f = pool_request_open(&c->rq, c->cluster, c->host, &o, &handler, c);
    if (f != UPSTREAM_OK) {
        w->refused++;
        end_request(c);
    } else if (c->rq.stream) {
        send_request(c);
    }
}

static void begin(void *arg)
{
    struct worker *w = arg;
    w->busy = CLIENTS;
    for (unsigned i = 0; i < CLIENTS; i++) {
        w->clients[i].worker = w;
        timer_init(&w->clients[i].timer, w->loop, on_client_timer);
        next(&w->clients[i]);
    }
}

static void end(void *arg)
{
    loop_stop(((struct worker *)arg)->loop);
}

static void *run(void *arg)
{
    struct worker *w = arg;
    loop_run(w->loop);
    mailbox_free(&w->mailbox);
    upstream_free(&w->up);
    loop_run_ready(w->loop);
    return NULL;
}

static void worker_open(struct worker *w, struct bench *b, unsigned row)
{
    w->bench = b;
    w->loop = loop_new();
    w->mailbox = mailbox_new(w->loop);
    w->up = upstream_new(w->loop, row, 7 + row);
    live_attach(b->live, w->up, w->mailbox);
    mailbox_post(w->mailbox, begin, w);
    assert_int_equal(pthread_create(&w->thread, NULL, run, w), 0);
}

static void worker_close(struct worker *w)
{
    live_detach(w->bench->live, w->up);
    mailbox_post(w->mailbox, end, w);
    pthread_join(w->thread, NULL);
    loop_free(&w->loop);
}

/* ---- The test. ---- */

static struct cluster_cfg *limited(uint64_t version)
{
    struct cluster_cfg *cfg = cluster_cfg_new(STR("a"));
    cfg->type = CLUSTER_EDS;
    cfg->eds_name = cfg->name;
    cfg->version_hash = version;
    cfg->thresholds[0].max_requests = MAX_RQ;
    cfg->thresholds[0].max_retries = MAX_RETRIES;
    cfg->outlier.on = true;
    cfg->outlier.consecutive_5xx = 5;
    cfg->outlier.consecutive_gateway_failure = 0;
    cfg->outlier.max_ejection_percent = 100;
    cfg->outlier.interval_ms = 20;
    cfg->outlier.base_ejection_time_ms = 50;
    cfg->panic_threshold = 0;
    return cfg;
}

static uint64_t stat(struct bench *b, const char *name)
{
    uint64_t value = 0;
    char full[128];
    snprintf(full, sizeof(full), "cluster.a.%s", name);
    live_collect(b->live);
    assert_true(stats_find(b->stats, str_of(full), &value));
    return value;
}

static void give_hosts(struct bench *b, unsigned count, const struct server *servers)
{
    char text[128] = "";
    for (unsigned i = 0; i < count; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "127.0.0.1:%u ", servers[i].port);
    live_set_endpoints(b->live, endpoints_of("a", text));
}

static void limits_hold_over_all_workers_while_hosts_fail_and_change(void **state)
{
    struct bench b = {0};
    struct server servers[3];
    unsigned at_once = 0, most = 0, rounds = 0;
    (void)state;
    b.loop = loop_new();
    b.mailbox = mailbox_new(b.loop);
    b.stats = stats_new(WORKERS);
    const struct live_options o = {.loop = b.loop, .mailbox = b.mailbox, .stats = b.stats};
    b.live = live_new(&o);
    for (unsigned i = 0; i < 3; i++)
        server_open(&servers[i], b.loop, i == 1 ? 500 : 200, &at_once, &most);
    live_put_cluster(b.live, limited(1));
    give_hosts(&b, 3, servers);
    for (unsigned i = 0; i < WORKERS; i++)
        worker_open(&b.workers[i], &b, i + 1);
    for (; b.ended < WORKERS && rounds < 60000; rounds++) {
        loop_run_ready(b.loop);
        if (rounds % 64 == 0)
            give_hosts(&b, rounds % 128 ? 2 : 3, servers);
        if (rounds % 256 == 0)
            live_put_cluster(b.live, limited(rounds + 2));
        live_collect(b.live);
        usleep(500);
    }
    assert_int_equal(b.ended, WORKERS);
    struct worker sum = {0};
    for (unsigned i = 0; i < WORKERS; i++) {
        worker_close(&b.workers[i]);
        sum.answered += b.workers[i].answered;
        sum.over += b.workers[i].over;
        sum.refused += b.workers[i].refused;
        sum.failed += b.workers[i].failed;
        sum.retried += b.workers[i].retried;
    }
    loop_run_ready(b.loop);
    assert_int_equal(sum.over, 0);
    assert_in_range(most, 1, MAX_RQ);
    assert_int_equal(sum.answered, WORKERS * CLIENTS * REQUESTS);
    assert_true(sum.refused > 0 && sum.retried > 0); /* the limits were reached, so they were tested */
    assert_int_equal(stat(&b, "upstream_rq_active"), 0);
    assert_int_equal(stat(&b, "upstream_rq_pending_active"), 0);
    assert_int_equal(stat(&b, "upstream_cx_active"), 0);
    assert_int_equal(stat(&b, "upstream_rq_total"), sum.answered);
    assert_int_equal(stat(&b, "upstream_rq_active_overflow"), sum.refused);
    assert_true(stat(&b, "outlier_detection.ejections_enforced_consecutive_5xx") > 0);
    /* A host that fails always gets five a streak and what was under way, not a third of all. */
    assert_true(sum.failed < sum.answered / 4);
    for (unsigned i = 0; i < 3; i++)
        server_close(&servers[i]);
    loop_run_ready(b.loop);
    live_free(&b.live);
    mailbox_free(&b.mailbox);
    stats_free(&b.stats);
    loop_free(&b.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits_hold_over_all_workers_while_hosts_fail_and_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
