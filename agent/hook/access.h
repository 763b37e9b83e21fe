// From what a program is about to do to the answer whether it may.
#pragma once

#include "agent/hook/handle_names.h"
#include "agent/hook/service_pipe.h"

namespace roamstead::hook {

using agent::intercept::Op;

// Whether the map says that it may go on. The common case, without a call.
inline bool is_known(const MapView& view, const Place& place, std::uint32_t wanted) {
  return agent::state_map::may_go_on(*view.header, view.table, place, wanted);
}

// Asks the service. 0: go on.
NTSTATUS ask_about(const MapView& view, Op op, const Place& place, std::uint32_t wanted,
                   std::uint16_t flags = 0, std::uint64_t value = 0);

// The two together, for what has a name. `located` is filled in.
struct Decision {
  Where where = Where::outside;
  NTSTATUS status = 0;
};
Decision decide(const MapView& view, const OBJECT_ATTRIBUTES* attributes, bool is_key, Op op,
                std::uint32_t wanted, std::uint16_t flags, Located& located);

// What an open handle stands for.
Where locate_handle(const Header& header, HANDLE handle, bool is_key, Located& located);

inline constexpr NTSTATUS kTooLong = static_cast<NTSTATUS>(agent::intercept::kNameTooLong);

// The functions that take the place of ntdll's.
void fill_file_hooks(void* (&hooks)[kHookCount]);
void fill_key_hooks(void* (&hooks)[kHookCount]);
void fill_process_hooks(void* (&hooks)[kHookCount]);
// Where this library lies, for the processes that this one starts.
bool prepare_propagation(HMODULE self);

}  // namespace roamstead::hook
