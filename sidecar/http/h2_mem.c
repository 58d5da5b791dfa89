/* Memory of HTTP/2's sessions and streams, which come and go with each request: what is given back is kept by its thread for
 * the next one of about that size, up to KEPT_MAX. Any thread; a piece is given back on the thread that asked for it.
 *
 * A list holds pieces of at least its number of steps, by malloc's own count, so that a piece needs no head. */
#include "sidecar/http/h2_priv.h"

#include "sidecar/base/die.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>

#define STEP_BYTES 32u
#define LISTS 33u /* the last one: pieces of 1 KiB */
#if defined(__SANITIZE_ADDRESS__)
#define KEPT_MAX 0u /* so that the use of freed memory is found */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KEPT_MAX 0u
#endif
#endif
#ifndef KEPT_MAX
#define KEPT_MAX (1024u * 1024)
#endif

struct piece {
    struct piece *next;
};

struct kept {
    struct piece *lists[LISTS];
    size_t bytes;
};

static _Thread_local struct kept *thread_kept;
static tss_t kept_key;
static once_flag kept_once = ONCE_FLAG_INIT;

static void kept_free(void *arg)
{
    struct kept *k = arg;
    for (unsigned i = 0; i < LISTS; i++) {
        struct piece *next;
        for (struct piece *p = k->lists[i]; p; p = next) {
            next = p->next;
            free(p);
        }
    }
    free(k);
    thread_kept = NULL;
}

static void kept_init(void)
{
    if (tss_create(&kept_key, kept_free) != thrd_success)
        die("cannot make a thread-specific key; too many are in use");
}

static struct kept *kept_of_thread(void)
{
    if (!thread_kept) {
        call_once(&kept_once, kept_init);
        thread_kept = NEW(struct kept);
        tss_set(kept_key, thread_kept);
    }
    return thread_kept;
}

void *h2_mem_alloc(size_t n)
{
    size_t list = (n + STEP_BYTES - 1) / STEP_BYTES;
    if (list >= LISTS)
        return xmalloc(n);
    struct kept *k = kept_of_thread();
    struct piece *p = k->lists[list];
    if (!p)
        return xmalloc(list * STEP_BYTES);
    k->lists[list] = p->next;
    k->bytes -= list * STEP_BYTES;
    return p;
}

void *h2_mem_zalloc(size_t n)
{
    return memset(h2_mem_alloc(n), 0, n);
}

void h2_mem_free(void *p)
{
    if (!p)
        return;
    size_t list = malloc_usable_size(p) / STEP_BYTES;
    struct kept *k = kept_of_thread();
    if (list == 0 || list >= LISTS || k->bytes + list * STEP_BYTES > KEPT_MAX) {
        free(p);
        return;
    }
    struct piece *piece = p;
    piece->next = k->lists[list];
    k->lists[list] = piece;
    k->bytes += list * STEP_BYTES;
}

/* ---- As nghttp2 asks. ---- */

static void *mem_malloc(size_t n, void *ctx)
{
    (void)ctx;
    return h2_mem_alloc(n);
}

static void mem_free(void *p, void *ctx)
{
    (void)ctx;
    h2_mem_free(p);
}

static void *mem_calloc(size_t count, size_t n, void *ctx)
{
    (void)ctx;
    assert(n == 0 || count <= SIZE_MAX / n);
    return h2_mem_zalloc(count * n);
}

static void *mem_realloc(void *p, size_t n, void *ctx)
{
    (void)ctx;
    return xrealloc(p, n);
}

const nghttp2_mem h2_mem = {NULL, mem_malloc, mem_free, mem_calloc, mem_realloc};
