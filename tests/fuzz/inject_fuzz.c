/* Any text: whatever injection takes leads back to the very same bytes, and injecting the result changes nothing. */
#include "control/inject/inject.h"
#include "sidecar/base/die.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const struct inject_params params = {.image = "i", .discovery = "d:1", .ns = "default"};
    struct str text = str_n((const char *)data, n);
    struct arena *arena = arena_new(4096);
    struct findings findings;
    struct buf injected = {0}, back = {0}, again = {0};
    findings_init(&findings, arena);
    if (inject_text(text, "x", &params, &findings, &injected) && !str_eq(buf_str(&injected), text)) {
        bool ok = uninject_text(buf_str(&injected), "x", &findings, &back);
        assert(ok && str_eq(buf_str(&back), text));
        ok = inject_text(buf_str(&injected), "x", &params, &findings, &again);
        assert(ok && str_eq(buf_str(&again), buf_str(&injected)));
    }
    buf_fini(&injected);
    buf_fini(&back);
    buf_fini(&again);
    arena_free(&arena);
    return 0;
}
