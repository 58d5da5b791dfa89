/* Load for TCP: large answers to one byte, every byte compared.
 *
 *   bulk serve PORT BYTES                                 answers each byte with BYTES, for ever
 *   bulk fetch PORT CONNECTIONS MESSAGES BYTES RATE
 *
 * fetch asks on each connection for one answer after the other, until MESSAGES in all have come;
 * RATE a second in all, 0 for as fast as they come. It prints as pingpong does: "messages N bytes N
 * errors N seconds S", and ends with 1 if there was an error. One thread each, bare epoll. */
#include "tests/bench/load.h"

#define EVENTS 256
#define READ_BYTES 262144

static unsigned char *pattern;
static size_t answer_bytes;

static void make_pattern(const char *bytes)
{
    answer_bytes = (size_t)atoll(bytes);
    pattern = malloc(answer_bytes);
    if (answer_bytes == 0 || !pattern)
        fail("BYTES");
    for (size_t i = 0; i < answer_bytes; i++)
        pattern[i] = (unsigned char)(i * 13 + i / 256 * 7);
}

/* ---- The server. ---- */

struct served {
    int fd;
    size_t owed; /* bytes of answers not yet sent */
    bool waits;  /* for the socket to take more */
};

static void serve_end(struct served *s)
{
    close(s->fd);
    free(s);
}

static bool serve_read(struct served *s)
{
    char asked[256];
    ssize_t n = recv(s->fd, asked, sizeof(asked), MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        return false;
    s->owed += n > 0 ? (size_t)n * answer_bytes : 0;
    return true;
}

static bool serve_write(int ep, struct served *s)
{
    while (s->owed > 0) {
        size_t at = (answer_bytes - s->owed % answer_bytes) % answer_bytes;
        ssize_t n = send(s->fd, pattern + at, answer_bytes - at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN)
            return false;
        if (n < 0)
            break;
        s->owed -= (size_t)n;
    }
    if ((s->owed > 0) != s->waits) {
        s->waits = !s->waits;
        watch(ep, EPOLL_CTL_MOD, s->fd, EPOLLIN | (s->waits ? EPOLLOUT : 0u), s);
    }
    return true;
}

static _Noreturn void serve(const char *port)
{
    struct epoll_event events[EVENTS];
    int listener = new_listener(port), ep = epoll_create1(EPOLL_CLOEXEC), fd;
    watch(ep, EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
    for (;;) {
        int n = epoll_wait(ep, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            struct served *s = events[i].data.ptr;
            if (s && (!serve_read(s) || !serve_write(ep, s)))
                serve_end(s);
            while (!s && (fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
                struct served *born = calloc(1, sizeof(*born));
                born->fd = fd;
                watch(ep, EPOLL_CTL_ADD, fd, EPOLLIN, born);
            }
        }
    }
}

/* ---- The fetches. ---- */

struct fetch {
    int fd;
    size_t got;
    bool is_waiting; /* for its answer */
};

static struct {
    struct fetch *fetches;
    unsigned connections;
    uint64_t messages, asked, back, errors;
    double rate;
    uint64_t begun_ns;
} load;

static bool may_ask(void)
{
    double due = (double)(now_ns() - load.begun_ns) / 1e9 * load.rate;
    return load.asked < load.messages && (load.rate == 0 || (double)load.asked < due);
}

static void ask(struct fetch *f)
{
    f->got = 0;
    f->is_waiting = true;
    load.asked++;
    if (send(f->fd, "?", 1, MSG_NOSIGNAL) != 1)
        load.errors++;
}

static void ask_due(void)
{
    static unsigned turn;
    for (unsigned i = 0; i < load.connections && may_ask(); i++) {
        struct fetch *f = &load.fetches[turn++ % load.connections];
        if (!f->is_waiting)
            ask(f);
    }
}

static void receive(struct fetch *f)
{
    static unsigned char bytes[READ_BYTES];
    ssize_t n = recv(f->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0 || !f->is_waiting || f->got + (size_t)n > answer_bytes ||
        memcmp(bytes, pattern + f->got, (size_t)n) != 0) {
        fprintf(stderr, "bulk: a connection ended or brought other bytes\n");
        load.errors++;
        load.back = load.messages; /* no use in going on */
        return;
    }
    f->got += (size_t)n;
    if (f->got < answer_bytes)
        return;
    f->is_waiting = false;
    load.back++;
    if (may_ask())
        ask(f);
}

static int run_fetches(char **argv)
{
    struct epoll_event events[EVENTS];
    int ep = epoll_create1(EPOLL_CLOEXEC);
    load.connections = (unsigned)atoi(argv[1]);
    load.messages = (uint64_t)atoll(argv[2]);
    load.rate = atof(argv[4]);
    make_pattern(argv[3]);
    load.fetches = calloc(load.connections, sizeof(*load.fetches));
    for (unsigned i = 0; i < load.connections; i++) {
        load.fetches[i].fd = new_connection(argv[0]);
        watch(ep, EPOLL_CTL_ADD, load.fetches[i].fd, EPOLLIN, &load.fetches[i]);
    }
    load.begun_ns = now_ns();
    while (load.back < load.messages) {
        ask_due();
        int n = epoll_wait(ep, events, EVENTS, load.rate > 0 ? 1 : 5000);
        if (n == 0 && load.rate == 0) {
            fprintf(stderr, "bulk: no answer for 5 s\n");
            load.errors++;
            break;
        }
        for (int i = 0; i < n; i++)
            receive(events[i].data.ptr);
    }
    printf("messages %llu bytes %llu errors %llu seconds %.3f\n", (unsigned long long)load.back,
           (unsigned long long)(load.back * answer_bytes), (unsigned long long)load.errors,
           (double)(now_ns() - load.begun_ns) / 1e9);
    return load.errors > 0;
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "serve") == 0) {
        make_pattern(argv[3]);
        serve(argv[2]);
    }
    if (argc == 7 && strcmp(argv[1], "fetch") == 0)
        return run_fetches(argv + 2);
    fprintf(stderr, "usage: bulk serve PORT BYTES | bulk fetch PORT CONNECTIONS MESSAGES BYTES RATE\n");
    return 2;
}
