// Questions to the service, over its named pipe. One connection stays open; further ones, for threads that
// ask at the same time, are closed after use. Nothing here allocates from the heap, loads libraries or starts
// threads, and every wait is bounded: it may run under the loader's lock.
#pragma once

#include "agent/core/intercept_protocol.h"
#include "agent/hook/profile_map.h"

namespace roamstead::hook {

// A conversation on one connection: what belongs together (a rename and its end) uses one object.
class Conversation {
 public:
  explicit Conversation(const Header& header);
  ~Conversation();
  Conversation(const Conversation&) = delete;
  Conversation& operator=(const Conversation&) = delete;

  // An NTSTATUS: 0, or what the program is to be told. While the service cannot be reached it is tried again,
  // until the time in the map's header is over; then intercept::kRetry.
  NTSTATUS ask(agent::intercept::Op op, const Place& name, std::uint16_t flags = 0, const Place& second = {},
               std::uint64_t value = 0);

 private:
  const Header& header_;
  struct Connection* connection_ = nullptr;
};

// Whether this thread is asking already: then whatever it touches meanwhile is none of the profile's.
class AskingNow {
 public:
  AskingNow();
  ~AskingNow();
  explicit operator bool() const { return mine_; }  // false: it is

 private:
  bool mine_;
  DWORD last_error_;
};
bool prepare_asking();  // once

}  // namespace roamstead::hook
