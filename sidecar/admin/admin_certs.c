/* /certs: the certificates in force, of listeners and of clusters, as Envoy prints them; where they came from is not kept. */
#include "sidecar/admin/admin_priv.h"

#include "sidecar/base/clock.h"
#include "sidecar/config/index.h"
#include "sidecar/filter/listener_cfg.h"
#include "sidecar/upstream/live.h"

#include <time.h>

static void write_time(struct buf *out, const char *key, int64_t at_s)
{
    char text[32] = "";
    struct tm tm;
    time_t at = (time_t)at_s;
    if (gmtime_r(&at, &tm))
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
    buf_printf(out, ",\"%s\":\"%s\"", key, text);
}

static void write_names(struct buf *out, const char *kind, struct str list, bool *any)
{
    struct str name;
    while (str_next(&list, ',', &name)) {
        buf_printf(out, "%s{\"%s\":", *any ? "," : "", kind);
        admin_json_string(out, name);
        buf_append_byte(out, '}');
        *any = true;
    }
}

static void write_certificate(struct buf *out, const struct tls_certificate_facts *f)
{
    int64_t left_s = f->not_after_s - (int64_t)(clock_wall_us() / 1000000);
    bool any = false;
    buf_append_c(out, "{\"serial_number\":");
    admin_json_string(out, f->serial);
    buf_append_c(out, ",\"subject_alt_names\":[");
    write_names(out, "dns", f->names, &any);
    write_names(out, "uri", f->uris, &any);
    buf_printf(out, "],\"days_until_expiration\":\"%lld\"", (long long)(left_s > 0 ? left_s / 86400 : 0));
    write_time(out, "valid_from", f->not_before_s);
    write_time(out, "expiration_time", f->not_after_s);
    buf_append_byte(out, '}');
}

/* Authorities, or certificates of our own. */
static void write_kind(struct admin_request *rq, const char *key, const struct tls_material *m, bool authorities)
{
    struct arena *a = arena_new(1024);
    bool any = false;
    buf_printf(&rq->out, "\"%s\":[", key);
    for (unsigned i = 0; i < tls_material_certificate_count(m); i++) {
        struct tls_certificate_facts f;
        tls_material_certificate(m, i, a, &f);
        if (f.is_authority != authorities)
            continue;
        buf_append_c(&rq->out, any ? "," : "");
        write_certificate(&rq->out, &f);
        any = true;
    }
    buf_append_byte(&rq->out, ']');
    arena_free(&a);
}

static void write_context(struct admin_request *rq, struct tls_ctx *ctx, bool *any)
{
    struct tls_material *m = ctx ? tls_ctx_material(ctx) : NULL;
    if (!m)
        return;
    buf_append_c(&rq->out, *any ? ",{" : "{");
    write_kind(rq, "ca_cert", m, true);
    buf_append_byte(&rq->out, ',');
    write_kind(rq, "cert_chain", m, false);
    buf_append_byte(&rq->out, '}');
    *any = true;
    tls_material_unref(&m);
}

void admin_certs(struct admin_request *rq)
{
    const struct admin_ops *ops = &rq->admin->ops;
    const struct resource *r;
    bool any = false;
    buf_append_c(&rq->out, "{\"certificates\":[");
    for (size_t i = 0; index_next(ops->index, RESOURCE_LISTENER, &i, &r);) {
        const struct listener_cfg *l = index_listener(ops->index, r->name);
        for (unsigned c = 0; l && c < l->chain_count; c++)
            write_context(rq, l->chains[c].tls, &any);
        if (l && l->default_chain)
            write_context(rq, l->default_chain->tls, &any);
    }
    for (size_t i = 0; index_next(ops->index, RESOURCE_CLUSTER, &i, &r);) {
        const struct cluster_cfg *cfg = live_find(ops->live, r->name);
        for (unsigned t = 0; cfg && t <= cfg->transport_match_count; t++)
            write_context(rq, cluster_cfg_transport(cfg, t)->tls, &any);
    }
    buf_append_c(&rq->out, "]}\n");
    rq->content_type = ADMIN_JSON_TYPE;
}
