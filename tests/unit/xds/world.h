/* A control plane and a sink for tests of the ADS client: one loop, a real gRPC server on loopback, and two logs of lines, what
 * the server received and what the sink was told. */
#ifndef OUTRIGGER_TESTS_XDS_WORLD_H
#define OUTRIGGER_TESTS_XDS_WORLD_H

#include "sidecar/grpc/grpc.h"
#include "sidecar/xds/xds.h"
#include "sidecar/xds/xds_priv.h"

struct world {
    struct loop *loop;
    struct stats *stats;
    struct grpc_server *server;
    uint16_t port;
    struct grpc_call *call; /* the open stream; NULL: none */
    unsigned calls;         /* streams that were opened */
    unsigned resumed;       /* the client reads */
    struct xds_options options;
    struct xds *xds;
    struct buf requests; /* lines not yet looked at */
    struct buf told;
    unsigned lives, batches;
    bool no_address;
    uint64_t need_timeout_ms;
};

/* A server that listens, and options for a client that does not run yet. */
struct world *world_new(enum xds_mode mode);
void world_free(struct world **w);
void world_start(struct world *w);
/* Stops the server; it may come back on the same port. */
void world_server_down(struct world *w);
void world_server_up(struct world *w);

/* Runs the loop until the condition holds; false after 5 s. */
#define WORLD_WAIT(w, condition)                                                                  \
    do {                                                                                          \
        uint64_t until_ = clock_mono_ns() + 5000000000u;                                          \
        while (!(condition) && clock_mono_ns() < until_)                                          \
            world_turn(w);                                                                        \
        assert_true(condition);                                                                   \
    } while (0)
void world_turn(struct world *w);
void world_run_ms(struct world *w, uint64_t ms);

/* resources: "NAME[@VERSION][=TEXT] ...": a TEXT that begins with ! is refused with the rest of it, else it is a list of the
 * names needed, a+b. Packed as the type would be: the name as field 1, the text as field 2. removed: "NAME ...". */
void world_reply(struct world *w, enum xds_type type, const char *version, const char *nonce, const char *resources,
                 const char *removed);
void world_reply_packed(struct world *w, const ProtobufCMessage *m);
/* A response as world_reply sends it. */
ProtobufCMessage *world_response(enum xds_mode mode, enum xds_type type, const char *version, const char *nonce,
                                 const char *resources, const char *removed, struct arena *arena);

/* Waits until the server received n bytes' worth of lines, and compares all of them: one line a request,
 * "cds node sub[a b] unsub[c] known[a=1] nonce(n) error(text)", what is empty is left out. SotW: "cds v(1) names[a b] ...". */
void world_expect_requests(struct world *w, const char *lines);
/* Waits for lines that the sink was told: "put cds a@1", "refuse cds a", "activate cds a", "remove cds a". */
void world_expect_told(struct world *w, const char *lines);

/* A response, what the sink is told of it, and what the server is sent for it. */
struct world_step {
    enum xds_type type;
    const char *version, *nonce, *resources, *removed;
    const char *told, *requests;
};
void world_walk(struct world *w, const struct world_step *steps, size_t n);
#define WORLD_WALK(w, ...)                                        \
    do {                                                          \
        static const struct world_step steps_[] = {__VA_ARGS__};  \
        world_walk((w), steps_, ARRAY_LEN(steps_));               \
    } while (0)

/* Fixtures of a test in one mode: the world alone, or with a client that has asked its first questions. */
int world_setup_delta(void **state);
int world_setup_sotw(void **state);
int world_setup_started_delta(void **state);
int world_setup_started_sotw(void **state);
int world_teardown(void **state);

#endif
