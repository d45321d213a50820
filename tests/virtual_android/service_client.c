/* Every command of the phone that the system server answers (getprop, dumpsys, cmd, ...): sends
 * its arguments to /dev/socket/system_server, copies what comes back to stdout and stderr.
 * What the commands do is not here: see system_server.py. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { STDOUT = 1, STDERR = 2, EXIT = 3, STARTED = 4 };

static int server;

static int write_all(int fd, const char* bytes, size_t length) {
  while (length > 0) {
    ssize_t done = write(fd, bytes, length);
    if (done <= 0) return -1;
    bytes += done;
    length -= (size_t)done;
  }
  return 0;
}

static int read_all(int fd, char* bytes, size_t length) {
  while (length > 0) {
    ssize_t done = read(fd, bytes, length);
    if (done <= 0) return -1;
    bytes += done;
    length -= (size_t)done;
  }
  return 0;
}

static int send_text(int fd, const char* text) {
  uint32_t length = htonl((uint32_t)strlen(text));
  if (write_all(fd, (const char*)&length, sizeof length)) return -1;
  return write_all(fd, text, strlen(text));
}

static int has(int argc, char** argv, const char* one, const char* other) {
  for (int i = 1; i < argc; i++)
    if (!strcmp(argv[i], one) || !strcmp(argv[i], other)) return 1;
  return 0;
}

/* perfetto alone takes its configuration from stdin, and ends in good order when it is told to. */
static const char* read_configuration(void) {
  static char text[65536];
  size_t length = 0;
  ssize_t got;
  while (length < sizeof text - 1 && (got = read(0, text + length, sizeof text - 1 - length)) > 0)
    length += (size_t)got;
  return text;
}

static void ask_to_end(int number) {
  (void)number;
  if (write(server, "S", 1) != 1) _exit(1);
}

static void end_when_told(void) {
  struct sigaction action = {.sa_handler = ask_to_end, .sa_flags = SA_RESTART};
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGINT, &action, NULL);
}

/* The child goes on without the terminal; its parent says who it is, and ends. */
static void go_to_background(void) {
  pid_t child = fork();
  if (child != 0) {
    printf("%d\n", (int)child);
    fflush(stdout);
    _exit(child < 0);
  }
  setsid();
  int nothing = open("/dev/null", O_RDWR);
  for (int fd = 0; fd < 3; fd++) dup2(nothing, fd);
}

int main(int argc, char** argv) {
  struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/dev/socket/system_server"};
  const char* slash = strrchr(argv[0], '/');
  const char* name = slash ? slash + 1 : argv[0];
  const int records = !strcmp(name, "perfetto");
  server = socket(AF_UNIX, SOCK_STREAM, 0);
  if (connect(server, (struct sockaddr*)&address, sizeof address)) {
    fprintf(stderr, "%s: the system server does not answer\n", argv[0]);
    return 20;
  }
  uint32_t count = htonl((uint32_t)(argc + records));
  if (write_all(server, (const char*)&count, sizeof count)) return 20;
  if (send_text(server, name)) return 20;
  for (int i = 1; i < argc; i++)
    if (send_text(server, argv[i])) return 20;
  if (records) {
    if (send_text(server, has(argc, argv, "-", "-") ? read_configuration() : "")) return 20;
    end_when_told();
  }

  char header[5];
  static char bytes[65536];
  while (!read_all(server, header, sizeof header)) {
    uint32_t length;
    memcpy(&length, header + 1, sizeof length);
    length = ntohl(length);
    if (length > sizeof bytes || read_all(server, bytes, length)) return 20;
    if (header[0] == EXIT) return (unsigned char)bytes[0];
    if (header[0] == STARTED) {
      if (has(argc, argv, "-d", "--background") || has(argc, argv, "-D", "--background-wait"))
        go_to_background();
    } else if (write_all(header[0] == STDERR ? 2 : 1, bytes, length)) {
      return 1;
    }
  }
  return 20;
}
