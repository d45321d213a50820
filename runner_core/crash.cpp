#include "crash.h"

#include <signal.h>

#include <atomic>

#include "platform/clock.h"

namespace phonebench {
namespace {

struct NamedSignal {
  int number;
  const char* name;
};

constexpr NamedSignal kFatal[] = {
    {SIGSEGV, "SIGSEGV (a bad memory access)"},
    {SIGABRT, "SIGABRT (the engine gave up)"},
    {SIGBUS, "SIGBUS (a file or memory went away)"},
    {SIGFPE, "SIGFPE (an impossible integer operation)"},
    {SIGILL, "SIGILL (an instruction that this processor lacks)"},
    {SIGTERM, "SIGTERM"},
    {SIGINT, "SIGINT"},
    {SIGHUP, "SIGHUP"},
};

// A signal handler has no other way to them.
std::atomic<const char*> phase{"start"};
std::atomic<RecordWriter*> open_result{nullptr};

alignas(16) char handler_stack[65536];

void handle(int number) {
  // Only the first handler writes: another thread may crash at the same moment.
  if (RecordWriter* writer = open_result.exchange(nullptr)) {
    const char* name = "a signal";
    for (const NamedSignal& known : kFatal) {
      if (known.number == number) name = known.name;
    }
    writer->finish_in_signal_handler(name, phase.load(), now_ns());
  }
  // SA_RESETHAND has restored the default action: end as if there had been no handler.
  raise(number);
}

}  // namespace

void enter_phase(const char* name) { phase.store(name); }
const char* current_phase() { return phase.load(); }

CrashHandlers::CrashHandlers(RecordWriter& writer) {
  static_assert(sizeof(kFatal) / sizeof(kFatal[0]) == kSignals, "room for what was before");
  open_result.store(&writer);
  // A stack of its own: the usual one may be what overflowed.
  stack_t stack{};
  stack.ss_sp = handler_stack;
  stack.ss_size = sizeof(handler_stack);
  sigaltstack(&stack, &stack_before_);
  struct sigaction action{};
  action.sa_handler = handle;
  action.sa_flags = SA_ONSTACK | static_cast<int>(SA_RESETHAND);
  sigfillset(&action.sa_mask);
  for (size_t i = 0; i < kSignals; ++i) sigaction(kFatal[i].number, &action, &actions_before_[i]);
}

CrashHandlers::~CrashHandlers() {
  disarm_crash_handlers();
  for (size_t i = 0; i < kSignals; ++i) sigaction(kFatal[i].number, &actions_before_[i], nullptr);
  sigaltstack(&stack_before_, nullptr);
}

void disarm_crash_handlers() { open_result.store(nullptr); }

}  // namespace phonebench
