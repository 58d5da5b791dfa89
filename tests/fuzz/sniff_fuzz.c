/* sniff: what it says about a beginning it must say about all that follows, however the bytes
 * arrived. */
#include "sidecar/base/die.h"
#include "sidecar/net/sniff.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_strings(const struct sniff_result *r)
{
    assert(memchr(r->server_name, '\0', sizeof(r->server_name)));
    assert(r->alpn_count <= ARRAY_LEN(r->alpn));
    for (unsigned i = 0; i < r->alpn_count; i++)
        assert(memchr(r->alpn[i], '\0', sizeof(r->alpn[i])) && r->alpn[i][0] != '\0');
    if (r->kind != SNIFF_TLS)
        assert(r->server_name[0] == '\0' && r->alpn_count == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2)
        return 0;
    bool want_tls = data[0] & 1, want_http = data[0] & 2;
    size_t step = data[1] + 1u;
    struct sniff_result whole = {0}, grown = {0};
    data += 2;
    n -= 2;
    sniff(data, n, want_tls, want_http, &whole);
    check_strings(&whole);
    for (size_t at = 0; at < n; at += step) {
        sniff(data, at, want_tls, want_http, &grown);
        check_strings(&grown);
        if (grown.kind != SNIFF_MORE) {
            assert(grown.kind == whole.kind);
            return 0;
        }
    }
    sniff(data, n, want_tls, want_http, &grown);
    assert(grown.kind == whole.kind && grown.http10 == whole.http10);
    assert(strcmp(grown.server_name, whole.server_name) == 0);
    return 0;
}
