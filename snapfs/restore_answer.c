/*
 * restore_answer.c - what the writer of .restore gets, and its readers.
 */
#include "restore_impl.h"

#include "foreground.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void
restore_set_result(struct restore *r, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->result.text, sizeof(r->result.text), fmt, ap);
	va_end(ap);
	r->result.err = err;
	r->has_result = true;
}

static void
answer_text(const struct restore *r, char *text, size_t size)
{
	const struct agent_message *m = &r->result;
	const char *nl = m->text[0] != '\0' ? "\n" : "";

	if (m->err == 0)
		snprintf(
		    text, size, "%d\n%s%s%s", m->pid, r->more, m->text, nl);
	else
		snprintf(text, size, "%s\n",
		    m->text[0] != '\0' ? m->text : strerror(-m->err));
}

static void
reply_text(struct restore *r)
{
	const char *text = NULL;
	size_t size;

	pthread_mutex_lock(&r->fs->lock);
	size = handle_text(r->handle, r->size, r->off, &text);
	fuse_reply_buf(r->req, text, size);
	pthread_mutex_unlock(&r->fs->lock);
}

/* Frees it. */
void
restore_reply(struct restore *r, int err)
{
	/* No interrupt function runs after this. */
	if (r->req != NULL)
		fuse_req_interrupt_func(r->req, NULL, NULL);
	if (r->req == NULL)
		; /* it waited, and nobody has said a word */
	else if (r->by == BY_READ)
		reply_text(r); /* the sentence, if it failed */
	else if (r->by == BY_CLOSE && err == 0)
		foreground_reply(r->fs, r->req, r->handle, &r->writer);
	else if (r->by == BY_WRITE && err == 0)
		fuse_reply_write(r->req, r->size);
	else
		snapfs_reply_err(r->req, err);
	if (r->interrupt >= 0)
		close(r->interrupt);
	free(r);
}

/* For readers of the same open file, if it is still open.  With the lock. */
static void
leave_answer(struct restore *r, const char *text)
{
	struct handle *h = r->handle;

	foreground_set(h, r->terminal);
	free(h->text);
	h->text = strdup(text);
	h->len = h->text != NULL ? strlen(text) : 0;
	h->failed = r->result.err;
	/* A write that fails does not move the offset, those before it did. */
	if (r->result.err == 0)
		h->base = r->end;
	else
		h->base = r->by == BY_WRITE ? r->end - (off_t)r->size : 0;
}

void
restore_done(struct restore *r)
{
	struct snapfs *fs = r->fs;
	char text[CONTROL_ANSWER_MAX];
	const struct agent_message *m = &r->result;

	if (m->err == 0)
		log_put(fs->log, r->writer.creds.uid, SNAP_NOTICE,
		    "restore of %s: it is %d", r->ask.restore.path, m->pid);
	else
		log_put(fs->log, r->writer.creds.uid, SNAP_ERROR,
		    "restore of %s: %s", r->ask.restore.path,
		    m->text[0] != '\0' ? m->text : strerror(-m->err));
	answer_text(r, text, sizeof(text));

	pthread_mutex_lock(&fs->lock);
	control_answer_put(&fs->answers, r->writer.creds.uid, text);
	if (r->handle != NULL)
		leave_answer(r, text);
	else if (r->terminal >= 0)
		close(r->terminal);
	if (m->err == 0)
		fs->counters.restores++;
	else
		fs->counters.failed_restores++;
	pthread_mutex_unlock(&fs->lock);

	restore_reply(r, m->err);
}

/* For a later call on the open file to go on with. */
int
restore_keep(struct restore *r)
{
	struct restore_request *q = malloc(sizeof(*q));
	struct handle *h = r->handle;

	if (q == NULL) {
		restore_set_result(r, -ENOMEM, "%s", strerror(ENOMEM));
		return -ENOMEM;
	}
	*q = r->ask.restore;
	r->waits = true;
	pthread_mutex_lock(&r->fs->lock);
	free(h->pending);
	h->pending = q;
	h->pending_of = r->writer.id;
	h->pending_end = r->end;
	pthread_mutex_unlock(&r->fs->lock);
	return 0;
}
