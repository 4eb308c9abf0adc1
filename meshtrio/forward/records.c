/*
 * One end of a TLS connection that stands, with no Python between the kernel and OpenSSL.
 *
 * `Records` is what meshtrio/forward/pyrecords.py is, call by call; that one is used where this was not built. There
 * is one way to be right, so both have the same tests. Why it is worth having two is in ARCHITECTURE.md.
 *
 * OpenSSL takes ciphertext from one place, and leaves it in another, through a BIO that all ends share (openssl.h).
 * Both are empty between calls, since no call lets go of the GIL in between. So an end has no buffer of its own, but
 * for what OpenSSL keeps of a record that is not whole.
 *
 * Ciphertext is read into the caller's buffer, with room for one record before it, and there its plaintext goes: what is
 * as large as a cache is then walked once, not twice. That is safe, for OpenSSL copies a record before it decrypts it,
 * no plaintext is longer than its record, and of earlier reads no more than one record, which is not whole, is waiting.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <errno.h>
#include <limits.h>
#include <sys/socket.h>

#include "openssl.h"

#if PY_VERSION_HEX >> 16 != 0x030b
#error "where _ssl keeps its SSL was looked up for CPython 3.11 only (PySSLSocket in Modules/_ssl.c)"
#endif

#define RECORD_BYTES (17 * 1024) /* more than any record has (RFC 8446, 5.2: 2^14 + 256, and its head) */
#define CIPHER_BYTES (512 * 1024)
#define OWED_BYTES (1024 * 1024)

static PyObject *Owing;
static PyTypeObject *inner_type; /* _ssl._SSLSocket */
static BIO *desk;
static char *spare; /* CIPHER_BYTES, for what does not fit into the caller's buffer with a record */

/* The beginning of PySSLSocket. */
struct inner {
	PyObject_HEAD
	PyObject *socket;
	SSL *ssl;
};

typedef struct {
	PyObject_HEAD
	PyObject *inner; /* owns the SSL */
	SSL *ssl;
	int fd;
	char more;
	Py_ssize_t took;
	PyObject *owed;	 /* bytes */
	PyObject *ready; /* bytes: decrypted, and not read; or NULL */
	PyObject *end;	 /* str: why nothing more will be read, empty after close_notify; or NULL */
	PyObject *learn; /* called after the first read; or NULL */
} Records;

static void end_with(Records *self, const char *why)
{
	if (!self->end)
		self->end = PyUnicode_FromString(why);
	if (!self->end) { /* no memory for the words: an end it is all the same */
		PyErr_Clear();
		self->end = Py_NewRef(Py_None);
	}
	self->more = 1;
}

/* Decrypt all that is in `in`. The buffer holds that and a record. */
static size_t decrypt(Records *self, char *buffer, size_t room)
{
	size_t filled = 0;

	while (in.at < in.size && filled < room) {
		forget_errors();
		int got = openssl.SSL_read(self->ssl, buffer + filled, (int)(room - filled));
		if (got > 0) {
			filled += (size_t)got;
			continue;
		}
		int why = openssl.SSL_get_error(self->ssl, got);
		/* WANT_READ: the rest is no whole record, and OpenSSL has taken it. */
		if (why != SSL_ERROR_WANT_READ) {
			end_with(self, why == SSL_ERROR_ZERO_RETURN ? "" : why_it_failed());
			break;
		}
	}
	in.at = in.size = 0;
	return filled;
}

/* Owe what is in `out` from `gone` on, behind what is owed already. -1: an exception is set. */
static int owe(Records *self, size_t gone)
{
	PyObject *rest = PyBytes_FromStringAndSize(out.bytes + gone, (Py_ssize_t)(out.size - gone));

	out.size = 0;
	if (!rest)
		return -1;
	PyBytes_ConcatAndDel(&self->owed, rest);
	if (self->owed)
		return 0;
	self->owed = PyBytes_FromStringAndSize(NULL, 0); /* the one empty object of bytes: it is there */
	return -1;
}

/* Send what is owed, as far as the kernel takes it. -1: an exception is set. */
static int flush(Records *self)
{
	Py_ssize_t size = PyBytes_GET_SIZE(self->owed), gone;
	PyObject *rest;

	if (!size)
		return 0;
	gone = send(self->fd, PyBytes_AS_STRING(self->owed), (size_t)size, MSG_NOSIGNAL);
	if (gone < 0) {
		if (errno == EAGAIN || errno == EINTR)
			return 0;
		PyErr_SetFromErrno(PyExc_OSError);
		return -1;
	}
	rest = PyBytes_FromStringAndSize(PyBytes_AS_STRING(self->owed) + gone, size - gone);
	if (!rest)
		return -1;
	Py_SETREF(self->owed, rest);
	return 0;
}

/* Send what reading made TLS say: KeyUpdate, an alert, a server's tickets. -1: an exception is set. */
static int answer(Records *self)
{
	if (owe(self, 0))
		return -1;
	/* A dead socket shows at the next call: what was read with this came before that. */
	if (flush(self))
		PyErr_Clear();
	if (PyBytes_GET_SIZE(self->owed) > OWED_BYTES)
		end_with(self, "the other side reads no answers");
	return 0;
}

/* Give what is ready, or say how it ended. -1: an exception is set. */
static Py_ssize_t serve(Records *self, Py_buffer *buffer)
{
	if (self->ready) {
		Py_ssize_t size = PyBytes_GET_SIZE(self->ready), got = Py_MIN(size, buffer->len);
		PyObject *rest = NULL;

		if (got < size) {
			rest = PyBytes_FromStringAndSize(PyBytes_AS_STRING(self->ready) + got, size - got);
			if (!rest)
				return -1;
		}
		memcpy(buffer->buf, PyBytes_AS_STRING(self->ready), (size_t)got);
		Py_SETREF(self->ready, rest);
		self->more = 1;
		return got;
	}
	if (PyUnicode_Check(self->end) && !PyUnicode_GET_LENGTH(self->end))
		return 0;
	PyErr_SetObject(PyExc_ConnectionResetError, self->end);
	return -1;
}

/* Decrypt all that is in `in` into `ready`. -1: an exception is set. */
static int make_ready(Records *self)
{
	PyObject *ready = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)in.size + RECORD_BYTES);
	Py_ssize_t filled;

	if (!ready) {
		in.at = in.size = 0;
		return -1;
	}
	filled = (Py_ssize_t)decrypt(self, PyBytes_AS_STRING(ready), (size_t)PyBytes_GET_SIZE(ready));
	if (!filled)
		Py_CLEAR(ready);
	else if (_PyBytes_Resize(&ready, filled))
		return -1;
	Py_XSETREF(self->ready, ready);
	return 0;
}

static int teach(Records *self)
{
	PyObject *learn = self->learn, *nothing;

	self->learn = NULL;
	nothing = PyObject_CallNoArgs(learn);
	Py_DECREF(learn);
	Py_XDECREF(nothing);
	return nothing ? 0 : -1;
}

/* See pyrecords.py, recv_into. -1: an exception is set. */
static Py_ssize_t receive(Records *self, Py_buffer *buffer, size_t asked)
{
	char *place;

	asked = Py_MIN(asked, CIPHER_BYTES);
	in.bytes = place = asked + RECORD_BYTES <= (size_t)buffer->len ? (char *)buffer->buf + RECORD_BYTES : spare;
	while (!self->ready && !self->end) {
		ssize_t got = recv(self->fd, place, asked, 0);
		size_t filled = 0;

		if (got < 0) {
			PyErr_SetFromErrno(PyExc_OSError);
			return -1;
		}
		if (!got) {
			end_with(self, "FIN without close_notify");
			break;
		}
		in.size = (size_t)got;
		self->more = in.size == asked;
		if (in.size + RECORD_BYTES <= (size_t)buffer->len)
			filled = decrypt(self, buffer->buf, (size_t)buffer->len);
		else if (make_ready(self))
			return -1;
		if (out.size && answer(self))
			return -1;
		if (self->learn && teach(self))
			return -1;
		if (filled)
			return (Py_ssize_t)filled;
		if (!self->ready && !self->end && !self->more) {
			errno = EAGAIN;
			PyErr_SetFromErrno(PyExc_OSError);
			return -1;
		}
	}
	return serve(self, buffer);
}

/* See pyrecords.py, send. -1: an exception is set. */
static Py_ssize_t give(Records *self, const char *chunk, size_t size)
{
	ssize_t gone;

	if (flush(self))
		return -1;
	if (PyBytes_GET_SIZE(self->owed)) {
		errno = EAGAIN;
		if (size)
			PyErr_SetFromErrno(PyExc_OSError);
		else
			PyErr_SetNone(Owing);
		return -1;
	}
	for (size_t at = 0; at < size;) {
		forget_errors();
		int put = openssl.SSL_write(self->ssl, chunk + at, (int)Py_MIN(size - at, INT_MAX));
		if (put <= 0) {
			out.size = 0;
			PyErr_SetString(PyExc_ConnectionResetError, why_it_failed());
			return -1;
		}
		at += (size_t)put;
	}
	if (!size)
		return 0;
	gone = send(self->fd, out.bytes, out.size, MSG_NOSIGNAL);
	if (gone < 0 && errno != EAGAIN && errno != EINTR) {
		out.size = 0;
		PyErr_SetFromErrno(PyExc_OSError);
		return -1;
	}
	if (gone == (ssize_t)out.size) {
		out.size = 0;
		return (Py_ssize_t)size;
	}
	if (!owe(self, gone < 0 ? 0 : (size_t)gone))
		PyErr_SetNone(Owing);
	return -1;
}

static PyObject *number_of(Py_ssize_t count)
{
	return count < 0 ? NULL : PyLong_FromSsize_t(count);
}

static int is_made(const Records *self)
{
	if (!self->ssl)
		PyErr_SetString(PyExc_ValueError, "Records that were not made whole");
	return self->ssl != NULL;
}

/* Read a number of at least 0. -1: an exception is set. */
static Py_ssize_t number_in(PyObject *argument)
{
	Py_ssize_t number = PyLong_AsSsize_t(argument);

	if (number < 0 && !PyErr_Occurred())
		PyErr_SetString(PyExc_ValueError, "a negative number");
	return number;
}

static int has_arguments(const Records *self, Py_ssize_t given, Py_ssize_t wanted)
{
	if (!is_made(self))
		return 0;
	if (given != wanted)
		PyErr_Format(PyExc_TypeError, "%zd arguments, not %zd", wanted, given);
	return given == wanted;
}

/*
 * What is carried through the one buffer of a relay goes through the same one each time, so it is kept: to ask for it
 * and give it back would cost as much as all else that a call does beside OpenSSL and the kernel.
 */
static Py_buffer *scratch_in(PyObject *argument)
{
	static PyObject *last;
	static Py_buffer buffer;
	Py_buffer fresh;

	if (argument == last)
		return &buffer;
	if (PyObject_GetBuffer(argument, &fresh, PyBUF_WRITABLE))
		return NULL;
	if (last) {
		PyBuffer_Release(&buffer);
		Py_DECREF(last);
	}
	buffer = fresh;
	last = Py_NewRef(argument);
	return &buffer;
}

static PyObject *records_recv_into(Records *self, PyObject *const *args, Py_ssize_t given)
{
	Py_ssize_t nbytes, got;
	Py_buffer buffer;

	if (!has_arguments(self, given, 2) || (nbytes = number_in(args[1])) < 0 ||
	    PyObject_GetBuffer(args[0], &buffer, PyBUF_WRITABLE))
		return NULL;
	got = receive(self, &buffer, (size_t)nbytes);
	PyBuffer_Release(&buffer);
	return number_of(got);
}

static PyObject *records_send(Records *self, PyObject *const *args, Py_ssize_t given)
{
	Py_ssize_t put;
	Py_buffer chunk;

	if (!is_made(self))
		return NULL;
	if (given != 1 && given != 2) {
		PyErr_SetString(PyExc_TypeError, "send(chunk, flags=0)");
		return NULL;
	}
	if (PyObject_GetBuffer(args[0], &chunk, PyBUF_SIMPLE))
		return NULL;
	put = give(self, chunk.buf, (size_t)chunk.len);
	PyBuffer_Release(&chunk);
	return number_of(put);
}

/* carry_out(buffer, nbytes, descriptor), as carry_in */
static PyObject *records_carry_out(Records *self, PyObject *const *args, Py_ssize_t given)
{
	Py_ssize_t nbytes, sink, got, put;
	Py_buffer *buffer;

	self->took = 0;
	if (!has_arguments(self, given, 3) || (nbytes = number_in(args[1])) < 0 || (sink = number_in(args[2])) < 0 ||
	    !(buffer = scratch_in(args[0])))
		return NULL;
	got = receive(self, buffer, (size_t)nbytes);
	if (got <= 0)
		return number_of(got);
	self->took = got;
	put = send((int)sink, buffer->buf, (size_t)got, MSG_NOSIGNAL);
	if (put < 0 && (errno == EAGAIN || errno == EINTR))
		put = 0;
	return put < 0 ? PyErr_SetFromErrno(PyExc_OSError) : PyLong_FromSsize_t(put);
}

static PyObject *records_carry_in(Records *self, PyObject *const *args, Py_ssize_t given)
{
	Py_ssize_t nbytes, source, got;
	Py_buffer *buffer;

	self->took = 0;
	if (!has_arguments(self, given, 3) || (nbytes = number_in(args[1])) < 0 || (source = number_in(args[2])) < 0 ||
	    !(buffer = scratch_in(args[0])))
		return NULL;
	got = recv((int)source, buffer->buf, (size_t)Py_MIN(nbytes, buffer->len), 0);
	if (got < 0)
		return PyErr_SetFromErrno(PyExc_OSError);
	self->took = got;
	return number_of(got ? give(self, buffer->buf, (size_t)got) : 0);
}

static PyObject *records_flush(Records *self, PyObject *unused)
{
	(void)unused;
	if (!is_made(self) || flush(self))
		return NULL;
	return PyBool_FromLong(!PyBytes_GET_SIZE(self->owed));
}

static PyObject *records_say_goodbye(Records *self, PyObject *unused)
{
	(void)unused;
	if (!is_made(self))
		return NULL;
	forget_errors();
	if (openssl.SSL_shutdown(self->ssl) < 0) {
		out.size = 0;
		PyErr_SetString(PyExc_ConnectionResetError, why_it_failed());
		return NULL;
	}
	if (owe(self, 0))
		return NULL;
	Py_RETURN_NONE;
}

static PyObject *records_let_go(Records *self, PyObject *unused)
{
	(void)unused;
	self->fd = -1;
	Py_RETURN_NONE;
}

/* Take what the BIO has, and may have more of. */
static PyObject *emptied(PyObject *bio)
{
	PyObject *had = PyObject_CallMethod(bio, "read", NULL);

	if (had && !PyBytes_Check(had)) {
		PyErr_SetString(PyExc_TypeError, "a BIO that gives no bytes");
		Py_CLEAR(had);
	}
	return had;
}

/* Records(sock, session, (incoming, outgoing), learn) */
static int records_init(Records *self, PyObject *args, PyObject *keywords)
{
	PyObject *sock, *session, *incoming, *outgoing, *learn, *came;
	SSL *ssl;

	if (!PyArg_ParseTuple(args, "OO(OO)O:Records", &sock, &session, &incoming, &outgoing, &learn))
		return -1;
	if (self->inner || keywords) {
		PyErr_SetString(PyExc_TypeError, "Records are made once, and without keywords");
		return -1;
	}
	self->inner = PyObject_GetAttrString(session, "_sslobj");
	if (!self->inner)
		return -1;
	if (Py_TYPE(self->inner) != inner_type) {
		PyErr_SetString(PyExc_TypeError, "a session that is none of Python's ssl");
		return -1;
	}
	self->learn = learn == Py_None ? NULL : Py_NewRef(learn);
	self->fd = PyObject_AsFileDescriptor(sock);
	self->owed = self->fd < 0 ? NULL : emptied(outgoing);
	came = self->owed ? emptied(incoming) : NULL;
	if (!came)
		return -1;
	in.size = (size_t)PyBytes_GET_SIZE(came);
	if (in.size > CIPHER_BYTES) {
		in.size = 0;
		Py_DECREF(came);
		PyErr_SetString(PyExc_ValueError, "more came with the handshake than is read at once");
		return -1;
	}
	in.bytes = memcpy(spare, PyBytes_AS_STRING(came), in.size);
	Py_DECREF(came);
	ssl = ((struct inner *)self->inner)->ssl;
	openssl.BIO_up_ref(desk);
	openssl.SSL_set_bio(ssl, desk, desk);
	self->ssl = ssl;
	if ((in.size && make_ready(self)) || answer(self))
		return -1;
	self->more = self->ready || self->end;
	return 0;
}

static void records_dealloc(Records *self)
{
	Py_XDECREF(self->inner);
	Py_XDECREF(self->owed);
	Py_XDECREF(self->ready);
	Py_XDECREF(self->end);
	Py_XDECREF(self->learn);
	Py_TYPE(self)->tp_free(self);
}

static PyMethodDef records_methods[] = {
	{ "recv_into", (PyCFunction)(void *)records_recv_into, METH_FASTCALL, NULL },
	{ "send", (PyCFunction)(void *)records_send, METH_FASTCALL, NULL },
	{ "carry_in", (PyCFunction)(void *)records_carry_in, METH_FASTCALL, NULL },
	{ "carry_out", (PyCFunction)(void *)records_carry_out, METH_FASTCALL, NULL },
	{ "flush", (PyCFunction)records_flush, METH_NOARGS, NULL },
	{ "let_go", (PyCFunction)records_let_go, METH_NOARGS, NULL },
	{ "say_goodbye", (PyCFunction)records_say_goodbye, METH_NOARGS, NULL },
	{ NULL, NULL, 0, NULL },
};

static PyMemberDef records_members[] = {
	{ "more", T_BOOL, offsetof(Records, more), READONLY, NULL },
	{ "took", T_PYSSIZET, offsetof(Records, took), READONLY, NULL },
	{ "owed", T_OBJECT_EX, offsetof(Records, owed), READONLY, NULL },
	{ NULL, 0, 0, 0, NULL },
};

static PyTypeObject records_type = {
	PyVarObject_HEAD_INIT(NULL, 0)
	.tp_name = "meshtrio.forward.records.Records",
	.tp_basicsize = sizeof(Records),
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
	.tp_new = PyType_GenericNew,
	.tp_init = (initproc)records_init,
	.tp_dealloc = (destructor)records_dealloc,
	.tp_methods = records_methods,
	.tp_members = records_members,
};

/* Import `name`'s attribute. NULL: ImportError is set, whatever was wrong. */
static PyObject *imported(const char *name, const char *attribute)
{
	PyObject *module = PyImport_ImportModule(name);
	PyObject *found = module ? PyObject_GetAttrString(module, attribute) : NULL;

	Py_XDECREF(module);
	if (!found && !PyErr_ExceptionMatches(PyExc_ImportError))
		PyErr_Format(PyExc_ImportError, "%s has no %s", name, attribute);
	return found;
}

static struct PyModuleDef records_module = {
	PyModuleDef_HEAD_INIT,
	.m_name = "meshtrio.forward.records",
	.m_size = -1,
};

PyMODINIT_FUNC PyInit_records(void)
{
	PyObject *module, *file = imported("_ssl", "__file__"), *type = file ? imported("_ssl", "_SSLSocket") : NULL;
	const char *path = type ? PyUnicode_AsUTF8(file) : NULL;

	if (!path || find_openssl(path))
		return NULL;
	inner_type = (PyTypeObject *)type;
	Owing = imported("meshtrio.forward.pyrecords", "Owing");
	if (!Owing)
		return NULL;
	spare = malloc(CIPHER_BYTES); /* takes no memory until it is used */
	desk = made_desk();
	if (!spare || !desk)
		return PyErr_NoMemory();
	module = PyType_Ready(&records_type) ? NULL : PyModule_Create(&records_module);
	if (module && PyModule_AddObjectRef(module, "Records", (PyObject *)&records_type))
		Py_CLEAR(module);
	return module;
}
