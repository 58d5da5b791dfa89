/* Owns the sessions that a server keeps for clients of TLS 1.2 and older that take no tickets: a material's, for all workers.
 *
 * The lock is taken for such clients alone. So many are kept, the oldest makes room; OpenSSL itself judges their age and context. */
#include "sidecar/base/die.h"
#include "sidecar/tls/tls_priv.h"

#include <stdlib.h>
#include <string.h>

void tls_sessions_init(struct tls_sessions *s)
{
    pthread_mutex_init(&s->lock, NULL);
    s->all = xcalloc(TLS_SESSIONS_MAX, sizeof(SSL_SESSION *));
}

void tls_sessions_fini(struct tls_sessions *s)
{
    if (!s->all)
        return;
    for (unsigned i = 0; i < TLS_SESSIONS_MAX; i++)
        SSL_SESSION_free(s->all[i]);
    free(s->all);
    pthread_mutex_destroy(&s->lock);
}

static bool has_id(const SSL_SESSION *session, const unsigned char *id, size_t n)
{
    unsigned own_n;
    const unsigned char *own = SSL_SESSION_get_id(session, &own_n);
    return own_n == n && memcmp(own, id, n) == 0;
}

static struct tls_sessions *sessions_of(const SSL_CTX *c)
{
    return &((struct tls_material *)SSL_CTX_get_app_data(c))->sessions;
}

/* 1: the reference is taken. OpenSSL tells of those of TLS 1.3 too, which go on by ticket. */
static int on_new(SSL *ssl, SSL_SESSION *session)
{
    struct tls_sessions *s = sessions_of(SSL_get_SSL_CTX(ssl));
    if (SSL_SESSION_get_protocol_version(session) >= TLS1_3_VERSION)
        return 0;
    pthread_mutex_lock(&s->lock);
    SSL_SESSION *oldest = s->all[s->next];
    s->all[s->next] = session;
    s->next = (s->next + 1) % TLS_SESSIONS_MAX;
    pthread_mutex_unlock(&s->lock);
    SSL_SESSION_free(oldest);
    return 1;
}

static SSL_SESSION *on_get(SSL *ssl, const unsigned char *id, int n, int *shall_count)
{
    struct tls_sessions *s = sessions_of(SSL_get_SSL_CTX(ssl));
    SSL_SESSION *found = NULL;
    *shall_count = 0; /* done here, while nobody else can let it go */
    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < TLS_SESSIONS_MAX && !found; i++)
        if (s->all[i] && has_id(s->all[i], id, (size_t)n))
            found = s->all[i];
    if (found)
        SSL_SESSION_up_ref(found);
    pthread_mutex_unlock(&s->lock);
    return found;
}

/* A session that failed or is too old. */
static void on_remove(SSL_CTX *c, SSL_SESSION *session)
{
    struct tls_sessions *s = sessions_of(c);
    SSL_SESSION *was = NULL;
    unsigned n;
    const unsigned char *id = SSL_SESSION_get_id(session, &n);
    if (SSL_SESSION_get_protocol_version(session) >= TLS1_3_VERSION)
        return;
    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < TLS_SESSIONS_MAX && !was; i++)
        if (s->all[i] && has_id(s->all[i], id, n)) {
            was = s->all[i];
            s->all[i] = NULL;
        }
    pthread_mutex_unlock(&s->lock);
    SSL_SESSION_free(was);
}

void tls_sessions_install(SSL_CTX *c)
{
    SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(c, on_new);
    SSL_CTX_sess_set_get_cb(c, on_get);
    SSL_CTX_sess_set_remove_cb(c, on_remove);
}
