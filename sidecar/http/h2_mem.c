/* Memory of HTTP/2's sessions and streams, which come and go with each request: what is given back is kept by its thread for
 * the next one of about that size, up to KEPT_MAX. Any thread; a piece is given back on the thread that asked for it.
 *
 * A list holds pieces of at least its number of steps, by malloc's own count, so that a piece needs no head. */
#include "sidecar/http/h2_priv.h"

#include "sidecar/base/die.h"
#include "sidecar/base/thread.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#define STEP_BYTES 32u
#define LISTS 33u /* the last one: pieces of 1 KiB */
#define KEPT_MAX (THREAD_KEEPS_MEMORY ? 1024u * 1024 : 0u)

struct piece {
    struct piece *next;
};

struct kept {
    struct piece *lists[LISTS];
    size_t bytes;
};

static _Thread_local struct kept *thread_kept;

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

static struct kept *kept_of_thread(void)
{
    if (!thread_kept) {
        thread_kept = NEW(struct kept);
        thread_at_exit(kept_free, thread_kept);
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
