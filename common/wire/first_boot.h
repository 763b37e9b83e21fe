// How far a desktop is with what it runs once at its first start (docs/format-firstboot.md): the files as
// they lie on its disk. The coordinator judges them.
#pragma once

#include <string>

#include "common/base/archive.h"

namespace roamstead::wire {

inline constexpr std::size_t kMostFirstBootBytes = 256u << 10;  // of each file; a larger one is not sent

struct FirstBootReport {
  std::string steps;  // steps.json; empty: there is none, so nothing is to be run
  std::string state;  // state.json; empty: nothing was run yet

  template <class Archive>
  void serialize(Archive& archive) {
    archive(steps, state);
  }
};

}  // namespace roamstead::wire
