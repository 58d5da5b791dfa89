/* X-Forwarded-Client-Cert: what a client with a certificate is told upstream, as Envoy does it. On the worker's loop. */
#include "sidecar/proxy/exchange_priv.h"

/* KEY=element for each of a list, or KEY= where there is none and the key stands by itself. */
static void add_each(struct buf *b, const char *key, struct str list, bool even_none)
{
    struct str part;
    if (list.n == 0 && even_none)
        buf_printf(b, ";%s=", key);
    while (str_next(&list, ',', &part))
        buf_printf(b, ";%s=%.*s", key, STR_FMT(part));
}

static struct str describe(const struct tls_facts *f, const struct hcm_cfg *h, struct arena *a)
{
    struct buf b = {0};
    add_each(&b, "By", f->local_uris, false);
    buf_printf(&b, ";Hash=%.*s", STR_FMT(f->peer_fingerprint_256));
    if (h->xfcc_subject)
        buf_printf(&b, ";Subject=\"%.*s\"", STR_FMT(f->peer_subject));
    if (h->xfcc_uri)
        add_each(&b, "URI", f->peer_uris, true);
    if (h->xfcc_dns)
        add_each(&b, "DNS", f->peer_names, false);
    struct str text = arena_str(a, str_sub(buf_str(&b), 1, SIZE_MAX));
    buf_fini(&b);
    return text;
}

void client_cert_forward(struct exchange *x)
{
    struct headers *h = &x->request->headers;
    if (x->hcm->xfcc == XFCC_ALWAYS_FORWARD_ONLY)
        return;
    const struct tls_facts *f =
        x->hcm->xfcc == XFCC_SANITIZE || !x->d->chain->secure ? NULL : downstream_facts(x->d);
    if (!f || f->peer_fingerprint_256.n == 0) {
        headers_remove_ids(h, HDR_BIT(HDR_X_FORWARDED_CLIENT_CERT)); /* nobody proved who it is */
        return;
    }
    if (x->hcm->xfcc == XFCC_FORWARD_ONLY)
        return;
    struct str before = headers_find_joined(h, STR("x-forwarded-client-cert")), now = describe(f, x->hcm, x->arena);
    if (x->hcm->xfcc == XFCC_APPEND_FORWARD && before.n > 0)
        now = arena_printf(x->arena, "%.*s,%.*s", STR_FMT(before), STR_FMT(now));
    headers_set_id(h, HDR_X_FORWARDED_CLIENT_CERT, now);
}
