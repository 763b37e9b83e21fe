#include "agent/hook/access.h"

namespace roamstead::hook {

NTSTATUS ask_about(const MapView& view, Op op, const Place& place, std::uint32_t wanted, std::uint16_t flags,
                   std::uint64_t value) {
  AskingNow asking;
  if (!asking) return 0;
  if (view.header->table.load(std::memory_order_acquire) != view.table.number)
    if (const auto* renewed = renew_map(&view); wanted != 0 && is_known(*renewed, place, wanted)) return 0;
  Conversation conversation(*view.header);
  return conversation.ask(op, place, flags, {}, value);
}

Decision decide(const MapView& view, const OBJECT_ATTRIBUTES* attributes, bool is_key, Op op,
                std::uint32_t wanted, std::uint16_t flags, Located& located) {
  Decision decision;
  decision.where = locate(*view.header, attributes, is_key, located);
  if (is_elsewhere(decision.where)) return decision;
  if (decision.where == Where::too_long) {
    decision.status = kTooLong;
  } else if (wanted == 0 || !is_known(view, located.place, wanted)) {
    decision.status = ask_about(view, op, located.place, wanted, flags);
  }
  return decision;
}

Where locate_handle(const Header& header, HANDLE handle, bool is_key, Located& located) {
  std::size_t units = 0;
  const auto where = handle_names.find(header, handle, is_key, located.buffer, units, located.place.root);
  located.place.name = located.buffer;
  located.place.units = units;
  return where;
}

}  // namespace roamstead::hook
