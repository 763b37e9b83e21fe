// Snapshots by commands of the administrator's own: one freezes the disk and says where the frozen layer is,
// another one, if there is one, merges frozen layers. What they do it with (a hypervisor, a storage array,
// `roamstead disk snapshot`) is theirs.
//
// The freezing command ends with status 0 and prints one line, the frozen layer's absolute path, or a JSON
// object: "path", and where they are known "top", the chain's new top. (The answer of `roamstead disk
// snapshot
// --json` with "frozen_path" and "active_path" does too.) What it prints is checked: the layer has to be a
// disk file with an id, another one than the snapshot's before and standing on it, and, where the top is
// known, the very one below the top. A command that froze and then failed harms nothing: the next snapshot
// shows what that one would have shown.
//
// Without a merging command frozen layers only become more, by one with each snapshot: whoever freezes has to
// merge them too, keeping the file and the id of the newest one (what is beneath it may change), and only
// while the agent is sending nothing. A chain has at most 64 layers here.
#pragma once

#include <chrono>

#include "agent/core/chain_snapshots.h"
#include "agent/core/path_mapping.h"

namespace roamstead::agent {

class CommandSnapshots final : public ChainSnapshots {
 public:
  // Program and arguments. The program is named by an absolute path; in the arguments these stand for paths
  // as the command sees them: {top} the chain's top, and for merging {upper} and {lower}, the two frozen
  // layers, and {index}, the place of the upper one in the chain, counted from the top, which is 0.
  using Command = std::vector<std::string>;

  struct Options : ChainSnapshots::Options {
    Command freeze;
    Command merge;            // empty: there is none
    std::string top;          // of the chain, as this machine sees it; "": what the command says, if it does
    std::string base;         // the layer that stays, the clone's parent; "": frozen layers are called after
                              // the top, NAME.0001 and so on, as `roamstead disk snapshot` does
    std::string here, there;  // where this machine and the commands see the folder of the layers; both empty:
                              // under the same name
    std::chrono::milliseconds freeze_within{60'000};  // programs are held for so long
    std::chrono::milliseconds merge_within{3'600'000};
  };

  // ErrorCode::invalid_argument for a command that cannot be, naming what is wrong with it. `files` must
  // outlive this.
  static Result<std::unique_ptr<CommandSnapshots>> open(os::FileSystem& files, Options options);

 private:
  using Layers = std::vector<vdisk::LayerInfo>;
  struct Answer {
    std::string path, top;  // as this machine sees them; the top may be ""
  };

  CommandSnapshots(os::FileSystem& files, Options options, PathMapping mapping)
      : ChainSnapshots(files, options),
        files_(files),
        options_(std::move(options)),
        mapping_(std::move(mapping)),
        top_(options_.top) {}

  Result<FrozenLayer> freeze_chain() override;
  Result<Layers> chain() override;
  Result<void> merge(std::size_t index) override;
  bool can_merge() const override { return !options_.merge.empty() && !top_.empty(); }
  bool is_frozen(const vdisk::LayerInfo& top, const vdisk::LayerInfo& layer) const override;

  Result<std::string> run(const Command& command,
                          const std::vector<std::pair<std::string, std::string>>& names,
                          std::chrono::milliseconds within) const;
  Result<Answer> parse(const std::string& output) const;
  Result<FrozenLayer> check(const Answer& answer, const Layers& before) const;
  Result<Layers> walk(const std::string& from) const;

  os::FileSystem& files_;
  const Options options_;
  const PathMapping mapping_;
  // Guarded by the base class's order of calls.
  std::string top_;           // "" while it is not known
  FrozenLayer last_;          // by this process
  std::vector<Guid> frozen_;  // by this process: ids
};

}  // namespace roamstead::agent
