// For test programs: doctest too.
#pragma once

#include <doctest/doctest.h>

#include <fstream>
#include <iostream>
#include <sstream>
#include "cmake/precompiled.h"
