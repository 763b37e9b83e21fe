// Inside of ProfileMount, shared by the files that implement its requests.
#pragma once

#define FUSE_USE_VERSION 312
#include <fuse3/fuse_lowlevel.h>
#include <sys/stat.h>

#include <shared_mutex>
#include <thread>

#include "agent/fuse/node_table.h"
#include "agent/fuse/profile_mount.h"
#include "common/profile/path.h"
#include "common/profile/registry.h"

namespace roamstead::agent {

// What the kernel's file handles stand for.
struct OpenFile {
  NodeId node = 0;
  std::mutex opening;
  std::unique_ptr<PosixHandle> handle;  // null as long as the file is only shown; guarded by `opening`
  // Of a file that was opened when it was only shown:
  profile::ProfilePath base_path;
  std::uint64_t size_bytes = 0;
};
struct OpenDirectory {
  struct Entry {
    std::string name;
    std::uint64_t record;
    mode_t type;
  };
  std::vector<Entry> entries;
};

class ProfileMount::Impl {
 public:
  Impl(Loader& loader_used, PosixVolume& volume_used, const std::string& profile_root,
       std::uint64_t root_record, std::function<void()> changed)
      : loader(loader_used),
        volume(volume_used),
        root(profile_root),
        nodes(profile_root, root_record),
        tell_change(std::move(changed)) {}

  // A path on the volume as one of the profile.
  std::string_view in_profile(const std::string& path) const {
    return std::string_view(path).substr(std::min(path.size(), root.size() + 1));
  }

  Loader& loader;
  PosixVolume& volume;
  const std::string root;  // of the profile, on the volume
  NodeTable nodes;
  std::function<void()> tell_change;
  // Exclusive while names change on the volume, shared while a path is being used. Never held while the
  // loader may wait for the network. Taken before the loader's gate.
  std::shared_mutex names_mutex;

  struct stat root_status {};  // of the profile's root: owner and mode are the same for all

  fuse_session* session = nullptr;
  std::string mount_point;
  std::thread thread;
  bool mounted = false;

  // A program did something to a node, or to a name in a folder; afterwards.
  void note_change(NodeId node);
  void note_change_in(NodeId folder);
  // Errors are errno values, 0 is success.
  int open_node(NodeId node, std::unique_ptr<PosixHandle>& handle, bool for_writing = true);
  int populate(NodeId directory);
  // What is only shown (mount_preview.cpp). Whether a node is on the volume; asked before anything else, as
  // it may have come there meanwhile.
  bool is_real(NodeId node);
  // Brings it there, with all beside and above it.
  int settle(NodeId node);
  // Of a directory of which programs are shown the version's list; none where the volume is asked.
  std::optional<profile::ProfilePath> preview_path(NodeId directory);
  // Of a node that is only shown; EAGAIN when it is no more.
  int preview_entry(NodeId node, profile::ProfilePath& path, profile::Entry& entry);
  void preview_status(NodeId node, const profile::Entry& entry, struct stat& status) const;
  int look_up(NodeId parent, const std::string& name, fuse_entry_param& entry);
  int list(NodeId directory, std::vector<OpenDirectory::Entry>& entries);
  // For reading; null when the file is on the volume, or cannot be shown.
  OpenFile* open_preview(NodeId node);
  bool is_shown(OpenFile& file);
  int handle_of(OpenFile& file, PosixHandle*& handle);
  int stat_node(NodeId node, struct stat& status);
  int reply_entry_for(NodeId parent, const std::string& name, fuse_entry_param& entry);
  int remove_file(NodeId parent, const std::string& name);
  int rename(NodeId parent, const std::string& name, NodeId new_parent, const std::string& new_name,
             unsigned flags);
  int exchange(NodeId parent, const std::string& name, NodeId new_parent, const std::string& new_name);
  int bury(NodeId parent, const std::string& name, const std::string& path, std::uint64_t record);
  // Handles live from their opening until the kernel lets go of them, at the latest until the mount ends:
  // then some releases never come.
  OpenFile& add_file(NodeId node, std::unique_ptr<PosixHandle> handle);
  void release_file(OpenFile& file);
  OpenDirectory& add_directory(std::unique_ptr<OpenDirectory> directory);
  void release_directory(OpenDirectory& directory);
  void release_all();

  // The agent itself puts another file there when it loads keys: the kernel shall ask each time.
  bool is_hive(const std::string& path) const {
    return path.size() > root.size() &&
           profile::classify_hive_file(std::string_view(path).substr(root.size() + 1)) ==
               profile::HiveFile::hive;
  }
  // For the registry loader.
  Result<void> exclusively(const std::string& path, const std::function<Result<void>()>& work);

  // Names with ':' are alternate streams on an NTFS volume.
  std::string stream_of(const std::string& name) const;

 private:
  std::mutex handles_mutex_;
  std::unordered_map<OpenFile*, std::unique_ptr<OpenFile>> files_;
  std::unordered_map<OpenDirectory*, std::unique_ptr<OpenDirectory>> directories_;
};

// Reads a directory whole, "." and ".." too.
int list_directory(int root, const std::string& path, std::vector<OpenDirectory::Entry>& entries);

inline ProfileMount::Impl& impl_of(fuse_req_t request) {
  return *static_cast<ProfileMount::Impl*>(fuse_req_userdata(request));
}
// `fleeting`: may change without the kernel knowing.
void set_timeouts(fuse_entry_param& entry, bool fleeting);
double attribute_timeout(bool fleeting);

// Requests by subject; each adds its functions to the table.
void add_name_requests(fuse_lowlevel_ops& operations);
void add_file_requests(fuse_lowlevel_ops& operations);
void add_attribute_requests(fuse_lowlevel_ops& operations);

}  // namespace roamstead::agent
