/* The only way into another thread's loop. */
#ifndef OUTRIGGER_NET_MAILBOX_H
#define OUTRIGGER_NET_MAILBOX_H

#include "sidecar/net/loop.h"

struct mailbox;

struct mailbox *mailbox_new(struct loop *loop);
/* Runs what is still in it, then frees it. On the loop's thread, after the senders stopped. */
void mailbox_free(struct mailbox **mailbox);
/* From any thread: fn(arg) runs on the loop's thread; posts of one sender keep their order. */
void mailbox_post(struct mailbox *mailbox, loop_fn *fn, void *arg);

#endif
