// What of an item Windows' file calls do to NTFS' own metadata, or, where they do not reach it, what does it
// in their place. Two implementations: Windows (windows_items), and Wine, whose files are those of a mounted
// Linux file system (wine_items).
#pragma once

#include <memory>

#include "agent/core/profile_volume.h"
#include "agent/win/base/handle.h"

namespace roamstead::agent {

// Thread-safe. Names are single components. `what` is for messages.
class ItemPort {
 public:
  virtual ~ItemPort() = default;

  virtual Result<ItemTimes> times(HANDLE item, const std::string& what) = 0;
  virtual Result<void> set_times(HANDLE item, const ItemTimes& times, const std::string& what) = 0;
  // Attributes, security and times (those that are not zero).
  virtual Result<void> set_metadata(HANDLE item, const profile::Metadata& metadata,
                                    const std::string& what) = 0;
  // Makes a link of an empty file or directory, by what agent/core/link_data.h says, keeping its times.
  virtual Result<void> make_link(HANDLE item, ByteView data, const std::string& what) = 0;
  // Whether a name stands for another place: a link, a junction, a volume's mount point. `item` is that name,
  // opened without following it where the system can do that.
  virtual Result<bool> is_link(HANDLE directory, const std::wstring& name, HANDLE item) = 0;
  // What cannot be done through a handle of the item: where opening a link leads to its target, or an open
  // directory's name is kept although it changes. False: nothing was done, a handle will do.
  virtual Result<bool> describe_link(HANDLE directory, const std::wstring& name, VolumeItem& item) = 0;
  virtual Result<bool> rename_item(HANDLE from, const std::wstring& name, HANDLE to,
                                   const std::wstring& new_name) = 0;
  // Links that listing the directory leaves out, or shows as what they lead to.
  virtual Result<std::vector<VolumeItem>> list_links(HANDLE directory) = 0;
  virtual Result<bool> remove_link(HANDLE directory, const std::wstring& name) = 0;
  // Everything written to the volume is on stable storage.
  virtual Result<void> sync(HANDLE volume_root) = 0;
};

// `drive`: "C:".
std::unique_ptr<ItemPort> make_windows_items(const std::wstring& drive);

}  // namespace roamstead::agent
