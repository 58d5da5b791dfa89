/* A certificate of a peer: its names are listed without a NUL among them, and matched against a pattern, in bounds. */
#include "sidecar/base/die.h"
#include "sidecar/tls/tls_priv.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static bool check_name(void *ctx, struct str name)
{
    unsigned *count = ctx;
    assert(name.n > 0 && !memchr(name.p, 0, name.n));
    bool fits = tls_dns_name_match(name, STR("a.example"));
    assert(!fits || str_ieq(name, STR("a.example")) || str_ieq(name, STR("*.example")));
    ++*count;
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const unsigned char *p = data;
    X509 *x = d2i_X509(NULL, &p, (long)n);
    if (x) {
        struct arena *a = arena_new(256);
        unsigned count = 0;
        for (int type = TLS_SAN_EMAIL; type <= TLS_SAN_IP; type++) {
            tls_each_san(x, (enum tls_san_type)type, check_name, &count);
            struct str list = tls_san_list(x, (enum tls_san_type)type, a);
            assert(list.n == 0 || count > 0);
        }
        tls_serial(x, a);
        arena_free(&a);
        X509_free(x);
    }
    ERR_clear_error();
    return 0;
}
