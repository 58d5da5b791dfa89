/* Worth building with -Db_sanitize=thread too. */
#include "sidecar/base/die.h"
#include "sidecar/net/mailbox.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define SENDERS 3
#define LETTERS 5000

struct letter {
    unsigned sender, number;
};

struct receiver {
    struct loop *loop;
    struct mailbox *mailbox;
    unsigned next[SENDERS]; /* the reader's alone: no lock */
    unsigned left;
};

static struct receiver receiver;

static void on_letter(void *arg)
{
    struct letter *l = arg;
    assert_int_equal(l->number, receiver.next[l->sender]);
    receiver.next[l->sender]++;
    free(l);
    if (--receiver.left == 0)
        loop_stop(receiver.loop);
}

static void *send_letters(void *arg)
{
    unsigned sender = *(unsigned *)arg;
    for (unsigned i = 0; i < LETTERS; i++) {
        struct letter *l = NEW(struct letter);
        *l = (struct letter){sender, i};
        mailbox_post(receiver.mailbox, on_letter, l);
    }
    return NULL;
}

static void *run_loop(void *arg)
{
    loop_run(arg);
    return NULL;
}

static void letters_of_many_threads_arrive_once_and_in_each_senders_order(void **state)
{
    pthread_t threads[SENDERS], reader;
    unsigned ids[SENDERS];
    (void)state;
    receiver = (struct receiver){.loop = loop_new(), .left = SENDERS * LETTERS};
    receiver.mailbox = mailbox_new(receiver.loop);
    pthread_create(&reader, NULL, run_loop, receiver.loop);
    for (unsigned i = 0; i < SENDERS; i++) {
        ids[i] = i;
        pthread_create(&threads[i], NULL, send_letters, &ids[i]);
    }
    for (unsigned i = 0; i < SENDERS; i++)
        pthread_join(threads[i], NULL);
    pthread_join(reader, NULL);
    assert_int_equal(receiver.left, 0);
    mailbox_free(&receiver.mailbox);
    loop_free(&receiver.loop);
}

static unsigned count;

static void add(void *arg)
{
    count += *(unsigned *)arg;
}

static void post_more(void *arg)
{
    mailbox_post(receiver.mailbox, add, arg);
}

static void freeing_runs_what_is_left_and_what_that_posts(void **state)
{
    unsigned one = 1;
    (void)state;
    count = 0;
    receiver = (struct receiver){.loop = loop_new()};
    receiver.mailbox = mailbox_new(receiver.loop);
    mailbox_post(receiver.mailbox, add, &one);
    mailbox_post(receiver.mailbox, post_more, &one);
    assert_int_equal(count, 0); /* never on the sender's stack */
    mailbox_free(&receiver.mailbox);
    assert_null(receiver.mailbox);
    assert_int_equal(count, 2);
    loop_free(&receiver.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(letters_of_many_threads_arrive_once_and_in_each_senders_order),
        cmocka_unit_test(freeing_runs_what_is_left_and_what_that_posts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
