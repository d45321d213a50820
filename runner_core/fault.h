// What can go wrong in a launch, as the `error` record names it.
#pragma once

#include <stdexcept>
#include <string>

namespace phonebench {

// A failure that becomes an `error` record. `kind` is one of those in docs/record-format.md.
class Fault : public std::runtime_error {
 public:
  Fault(const char* kind, const std::string& message) : std::runtime_error(message), kind(kind) {}
  const char* kind;
};

// The result itself cannot be written, so no record can tell: stderr and the exit code do.
class StorageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace phonebench
