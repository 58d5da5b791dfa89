/* Owns everything of the control plane, on one loop. A change of files goes: files -> cache -> streams, then the addresses and names
 * that were given out are written, and a little later, when nobody waits, the references are checked. */
#include "control/main/plane.h"

#include "control/ads_server/ads_server.h"
#include "control/api/api.h"
#include "control/check/check.h"
#include "control/main/run_dir.h"
#include "control/registry/names.h"
#include "control/registry/vips.h"
#include "control/sources/files.h"
#include "proto/json_write.h"
#include "sidecar/base/clock.h"
#include "sidecar/base/die.h"
#include "sidecar/net/signal.h"
#include "sidecar/net/timer.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK_DELAY_MS 100

struct plane {
    const struct options *options;
    struct loop *loop;
    char *run, *state, *hosts;
    struct vips *vips;
    struct files *files;
    struct cache *cache;
    struct agents *agents;
    struct ads_server *ads;
    struct api *socket_api, *http_api;
    struct signal_watch *sigterm, *sigint;
    struct timer check_timer;
    uint64_t names; /* digest of those that were written */
    struct arena *findings_arena;
    struct findings findings; /* of files, then of references */
};

static int fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int fail(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("outrigger-control: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputs("\n", stderr);
    va_end(ap);
    return 1;
}

/* ---- Changes. ---- */

/* Each finding once in the log: those of files that were there before are not new. */
static void log_findings(const struct findings *findings)
{
    for (unsigned i = 0; i < findings->count; i++) {
        struct buf line = {0};
        if (findings->v[i].level == FINDING_INFO)
            continue;
        findings_print(&findings->v[i], &line);
        struct str text = buf_str(&line);
        if (text.n > 0 && text.p[text.n - 1] == '\n')
            text.n--;
        log_warn(LOG_CONTROL, "%.*s", STR_FMT(text));
        buf_fini(&line);
    }
}

static void on_check(struct timer *t)
{
    struct plane *p = CONTAINER_OF(t, struct plane, check_timer);
    struct check_world world = {.domain = str_of(p->options->domain)};
    arena_reset(p->findings_arena);
    findings_init(&p->findings, p->findings_arena);
    files_findings(p->files, &p->findings);
    world.v = files_objects(p->files, &world.count);
    check_references(&world, &p->findings);
    log_findings(&p->findings);
}

static void save(struct plane *p)
{
    int rc = vips_save(p->vips);
    if (rc != 0)
        log_error(LOG_CONTROL, "%s/vips.json: addresses that were given out cannot be kept: %s", p->state, strerror(-rc));
    uint64_t names = names_digest(cache_registry(p->cache));
    if (names == p->names)
        return;
    rc = names_update(cache_registry(p->cache), p->hosts);
    p->names = rc == 0 ? names : 0;
    if (rc != 0)
        log_error(LOG_CONTROL, "%s: the names of services cannot be written: %s", p->hosts, strerror(-rc));
}

static void apply(struct plane *p)
{
    unsigned count;
    struct object *const *objects = files_objects(p->files, &count);
    bool is_changed = cache_update(p->cache, objects, count);
    if (is_changed && p->ads)
        ads_server_push(p->ads);
    save(p);
    timer_arm(&p->check_timer, CHECK_DELAY_MS);
    log_info(LOG_CONTROL, "%u objects in force%s, %u files refused", count, is_changed ? "" : ", nothing to send",
             files_refused(p->files));
}

static void on_change(void *ctx)
{
    apply(ctx);
}

/* ---- What the API asks. ---- */

static void rescan(void *ctx)
{
    struct plane *p = ctx;
    if (files_scan(p->files))
        apply(p);
}

static void write_text(struct buf *out, const char *name, struct str value)
{
    buf_printf(out, "\"%s\": ", name);
    json_write_string(out, value);
}

static void write_time(struct buf *out, const char *name, uint64_t wall_us)
{
    char text[32] = "";
    if (wall_us > 0)
        clock_format_rfc3339(wall_us, text, sizeof(text));
    write_text(out, name, str_of(text));
}

static void write_type(const struct ads_client_status *status, enum resource_type type, struct buf *out)
{
    buf_printf(out, "\"%s\": {\"state\": \"%s\", \"resources\": %u, ", resource_type_info(type)->short_name,
               ads_state_name(status->types[type].state), status->types[type].resources);
    buf_printf(out, "\"sent\": %llu, \"acked\": %llu, ", (unsigned long long)status->types[type].sent,
               (unsigned long long)status->types[type].acked);
    write_time(out, "answered", status->types[type].answered_us);
    if (status->types[type].reason) {
        buf_append_c(out, ", ");
        write_text(out, "reason", str_of(status->types[type].reason));
    }
    buf_append_c(out, "}");
}

static void write_proxy(void *ctx, const struct ads_client_status *status)
{
    struct buf *out = ctx;
    buf_append_c(out, buf_len(out) > 1 ? ",\n{" : "\n{");
    write_text(out, "pod", status->pod);
    buf_append_c(out, ", ");
    write_text(out, "namespace", status->ns);
    buf_append_c(out, ", ");
    write_text(out, "ip", status->ip);
    buf_append_c(out, ", ");
    write_text(out, "agent", str_of(status->user_agent));
    buf_printf(out, ", \"protocol\": \"%s\", \"known\": %s, ", status->is_delta ? "delta" : "whole",
               status->is_known ? "true" : "false");
    write_time(out, "connected", status->connected_us);
    buf_append_c(out, ", \"types\": {");
    for (enum resource_type t = 0; t < RESOURCE_TYPE_COUNT; t++) {
        buf_append_c(out, t > 0 ? ", " : "");
        write_type(status, t, out);
    }
    buf_append_c(out, "}}");
}

static void write_proxies(void *ctx, struct buf *out)
{
    struct plane *p = ctx;
    buf_append_c(out, "[");
    ads_server_each(p->ads, write_proxy, out);
    buf_append_c(out, "\n]\n");
}

struct search {
    struct str pod, ns;
    const struct cache_client *found;
};

static void compare_client(void *ctx, const struct ads_client_status *status)
{
    struct search *s = ctx;
    if (str_eq(status->pod, s->pod) && str_eq(status->ns, s->ns))
        s->found = status->client;
}

static const struct cache_client *find_client(void *ctx, struct str pod, struct str ns)
{
    struct plane *p = ctx;
    struct search s = {pod, ns, NULL};
    ads_server_each(p->ads, compare_client, &s);
    return s.found;
}

/* Now, not as of the last check. */
static void all_findings(void *ctx, struct findings *out)
{
    struct plane *p = ctx;
    struct check_world world = {.domain = str_of(p->options->domain)};
    files_findings(p->files, out);
    world.v = files_objects(p->files, &world.count);
    check_references(&world, out);
}

static struct api_plane api_view(struct plane *p)
{
    return (struct api_plane){
        .files = p->files,
        .cache = p->cache,
        .agents = p->agents,
        .configs = p->options->configs,
        .config_count = p->options->config_count,
        .domain = p->options->domain,
        .rescan = rescan,
        .write_proxies = write_proxies,
        .find_client = find_client,
        .findings = all_findings,
        .ctx = p,
    };
}

/* ---- The start. ---- */

static bool make_directories(struct plane *p, struct err *err)
{
    p->run = run_dir_path();
    p->state = p->options->state ? xstrdup(p->options->state) : xasprintf("%s/state", p->run);
    p->hosts = xasprintf("%s/hosts", p->run);
    return run_dir_make(p->run, err) && run_dir_make(p->state, err) && run_dir_make(p->hosts, err);
}

static bool open_sources(struct plane *p, struct err *err)
{
    const struct options *o = p->options;
    char *vips = xasprintf("%s/vips.json", p->state);
    p->vips = vips_open(o->service_cidr, vips, err);
    free(vips);
    if (!p->vips)
        return false;
    const char **dirs = xcalloc(o->config_count + 1, sizeof(char *));
    memcpy(dirs, o->configs, o->config_count * sizeof(char *));
    dirs[o->config_count] = p->state;
    p->files = files_new(dirs, o->config_count + 1);
    files_observe(p->files, o->config_count);
    free(dirs);
    struct registry_options options = {str_of(o->domain), str_of(o->root_namespace), p->vips};
    p->cache = cache_new(&options);
    p->agents = agents_new(p->loop, p->cache);
    return true;
}

static bool follow(struct plane *p, struct err *err)
{
    const char *dir = NULL;
    int rc = files_watch(p->files, p->loop, on_change, p, &dir);
    return rc == 0 || err_set(err, "%s: cannot be followed: %s", dir, strerror(-rc));
}

static bool serve_ads(struct plane *p, struct err *err)
{
    char text[ADDR_TEXT_CAP];
    int error = 0;
    struct addr at = p->options->xds;
    p->ads = ads_server_new(p->loop, p->cache, p->agents, &at, &error);
    if (!p->ads)
        return err_set(err, "--xds %s: cannot listen: %s", addr_format(&at, text, sizeof(text)), strerror(-error));
    addr_set_port(&at, ads_server_port(p->ads));
    log_info(LOG_CONTROL, "sidecars are served at %s", addr_format(&at, text, sizeof(text)));
    return true;
}

static bool serve_socket(struct plane *p, struct err *err)
{
    char *path = p->options->socket ? xstrdup(p->options->socket) : xasprintf("%s/control.sock", p->run);
    struct api_plane view = api_view(p);
    struct addr at;
    int error = 0;
    bool ok = addr_from_unix(str_of(path), &at) || err_set(err, "--socket %s: is too long for a socket", path);
    if (ok) {
        p->socket_api = api_serve(p->loop, &at, &(struct listen_options){.unix_mode = 0600}, NULL, &view, &error);
        ok = p->socket_api || err_set(err, "--socket %s: cannot listen: %s", path, strerror(-error));
    }
    free(path);
    return ok;
}

static bool serve_http(struct plane *p, struct err *err)
{
    const struct options *o = p->options;
    struct api_plane view = api_view(p);
    char text[ADDR_TEXT_CAP];
    int error = 0;
    if (o->http.len == 0 && o->http_fd < 0)
        return true;
    char *token = run_dir_token(p->run, err);
    if (!token)
        return false;
    p->http_api = o->http_fd >= 0 ? api_serve_fd(p->loop, o->http_fd, token, &view)
                                  : api_serve(p->loop, &o->http, &(struct listen_options){0}, token, &view, &error);
    free(token);
    if (!p->http_api)
        return err_set(err, "--http %s: cannot listen: %s", addr_format(&o->http, text, sizeof(text)), strerror(-error));
    log_info(LOG_CONTROL, "the API is served at port %u", api_port(p->http_api));
    return true;
}

static void on_signal(void *ctx, int signum)
{
    struct plane *p = ctx;
    log_info(LOG_CONTROL, "%s: ending", signum == SIGTERM ? "SIGTERM" : "SIGINT");
    loop_stop(p->loop);
}

static bool start(struct plane *p, struct err *err)
{
    if (!make_directories(p, err) || !open_sources(p, err))
        return false;
    p->findings_arena = arena_new(4096);
    findings_init(&p->findings, p->findings_arena);
    timer_init(&p->check_timer, p->loop, on_check);
    p->sigterm = signal_start(p->loop, SIGTERM, on_signal, p);
    p->sigint = signal_start(p->loop, SIGINT, on_signal, p);
    files_scan(p->files);
    apply(p);
    return follow(p, err) && serve_ads(p, err) && serve_socket(p, err) && serve_http(p, err);
}

static void stop(struct plane *p)
{
    timer_disarm(&p->check_timer);
    api_stop(&p->socket_api);
    api_stop(&p->http_api);
    ads_server_free(&p->ads);
    agents_free(&p->agents);
    files_free(&p->files);
    if (p->cache)
        cache_free(&p->cache);
    vips_free(&p->vips);
    signal_stop(&p->sigterm);
    signal_stop(&p->sigint);
    arena_free(&p->findings_arena);
    loop_free(&p->loop);
    free(p->run);
    free(p->state);
    free(p->hosts);
}

int plane_run(const struct options *options)
{
    struct plane p = {.options = options, .loop = loop_new()};
    struct err err = {0};
    int code = 0;
    if (start(&p, &err))
        loop_run(p.loop);
    else
        code = fail("%s", err.text);
    stop(&p);
    return code;
}
