/* Owns the bootstrap's secrets, and which files stand behind which TLS context. Main thread.
 *
 * A file is watched once, whoever uses it; any change looks at all contexts that are followed, and one whose sources read the
 * same as before keeps its material. What cannot be read or parsed is logged and changes nothing. A context that only this
 * file still refers to is dropped when the next one comes or a file changes. */
#include "sidecar/config/secrets.h"

#include "sidecar/base/buf.h"
#include "sidecar/base/die.h"
#include "sidecar/base/hash.h"
#include "sidecar/base/list.h"
#include "sidecar/base/log.h"
#include "sidecar/base/table.h"
#include "sidecar/config/build_tls.h"
#include "sidecar/config/supported.h"
#include "sidecar/net/watch.h"

#include "proto/codec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct follower {
    struct list link;
    struct tls_ctx *ctx; /* counted */
    enum tls_side side;
    struct str message; /* malloc'd */
};

struct secrets {
    struct loop *loop;
    struct arena *arena;
    struct table by_name; /* Secret */
    struct table watches; /* path -> struct watch */
    struct list followers;
};

struct secrets *secrets_new(struct loop *loop)
{
    struct secrets *s = NEW(struct secrets);
    s->loop = loop;
    s->arena = arena_new(1024);
    list_init(&s->followers);
    return s;
}

static void follower_free(struct follower *f)
{
    list_remove(&f->link);
    tls_ctx_unref(&f->ctx);
    free((void *)(uintptr_t)f->message.p);
    free(f);
}

void secrets_free(struct secrets **s_p)
{
    struct secrets *s = *s_p;
    struct str path;
    void *watch;
    *s_p = NULL;
    if (!s)
        return;
    LIST_FOREACH (&s->followers, link)
        follower_free(CONTAINER_OF(link, struct follower, link));
    for (size_t i = 0; table_next(&s->watches, &i, &path, &watch);) {
        struct watch *w = watch;
        watch_stop(&w);
    }
    table_fini(&s->watches);
    table_fini(&s->by_name);
    arena_free(&s->arena);
    free(s);
}

bool secrets_add(struct secrets *s, const Envoy__Extensions__TransportSockets__Tls__V3__Secret *m, struct err *err)
{
    if (!supported_check(&m->base, err))
        return err_prefix(err, "Secret %s", m->name);
    if (!m->name[0])
        return err_set(err, "Secret (unnamed): name: is required");
    if (table_get(&s->by_name, str_of(m->name)))
        return err_set(err, "Secret %s: given twice in static_resources", m->name);
    ProtobufCMessage *copy = codec_clone(&m->base, s->arena);
    table_put(&s->by_name, str_of(((Envoy__Extensions__TransportSockets__Tls__V3__Secret *)(void *)copy)->name), copy);
    return true;
}

const Envoy__Extensions__TransportSockets__Tls__V3__Secret *secrets_find(const struct secrets *s, const char *name)
{
    return s ? table_get(&s->by_name, str_of(name)) : NULL;
}

/* ---- Following. ---- */

static void on_change(void *arg);

static void watch_paths(struct secrets *s, struct str paths)
{
    struct str path;
    while (s->loop && str_next(&paths, '\0', &path)) {
        if (path.n == 0 || table_get(&s->watches, path))
            continue;
        char *name = xmemdup0(path.p, path.n);
        struct watch *w = watch_start(s->loop, name, on_change, s);
        if (w)
            table_put(&s->watches, path, w);
        else
            log_warn(LOG_CONFIG, "cannot watch %s: %s; a change of this secret will not be seen", name, strerror(errno));
        free(name);
    }
}

static void refresh(struct secrets *s, struct follower *f)
{
    struct err err = {0};
    struct buf paths = {0};
    struct tls_material *was = tls_ctx_material(f->ctx);
    struct tls_material *now = build_tls_material(f->side, f->message, s, &paths, &err);
    watch_paths(s, buf_str(&paths));
    buf_fini(&paths);
    if (!now) {
        log_warn(LOG_CONFIG, "a secret changed and is refused, %s: %s", was ? "the last good one stays in force" : "there is none yet",
                 err.text);
    } else if (was && tls_material_is_same(was, now)) {
        tls_material_unref(&now);
    } else {
        log_info(LOG_CONFIG, "TLS certificates changed: connections that begin now have the new ones");
        tls_ctx_put(f->ctx, now);
    }
    tls_material_unref(&was);
}

static void sweep(struct secrets *s)
{
    LIST_FOREACH (&s->followers, link) {
        struct follower *f = CONTAINER_OF(link, struct follower, link);
        if (!tls_ctx_is_shared(f->ctx))
            follower_free(f);
    }
}

static void on_change(void *arg)
{
    struct secrets *s = arg;
    sweep(s);
    LIST_FOREACH (&s->followers, link)
        refresh(s, CONTAINER_OF(link, struct follower, link));
}

void secrets_follow(struct secrets *s, struct tls_ctx *ctx, enum tls_side side, struct str message, struct str paths)
{
    if (!s || !s->loop)
        return;
    sweep(s);
    struct follower *f = NEW(struct follower);
    f->ctx = tls_ctx_ref(ctx);
    f->side = side;
    f->message = (struct str){xmemdup0(message.p, message.n), message.n};
    list_init(&f->link);
    list_push_back(&s->followers, &f->link);
    watch_paths(s, paths);
}
