// The state map's memory as named sections that the user's processes open (agent/core/state_map.h).
#pragma once

#include <map>

#include "agent/core/state_map_writer.h"
#include "agent/win/intercept/windows_parts.h"

namespace roamstead::agent {

class MapSections final : public StateMapMemory {
 public:
  // "S-1-5-21-…" of the user whose map it is.
  explicit MapSections(std::string sid) : sid_(std::move(sid)) {}
  ~MapSections() override;

  Result<MutableByteView> make_header(std::size_t bytes) override;
  Result<MutableByteView> make_table(std::uint32_t number, std::size_t bytes) override;
  void drop_table(std::uint32_t number) override;

 private:
  struct Section {
    win::OwnedHandle handle;
    void* view = nullptr;
  };
  Result<MutableByteView> make(const std::wstring& suffix, std::size_t bytes, bool may_exist,
                               Section& section);

  const std::string sid_;
  Section header_;
  std::map<std::uint32_t, Section> tables_;
};

}  // namespace roamstead::agent
