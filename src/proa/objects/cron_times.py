"""Find the moments that a schedule names, as robfig/cron finds them (spec.go, constantdelay.go).

A wall-clock field that does not fit is moved on, the largest first, and what is smaller starts anew; where clocks
jump back an hour, a time in it comes twice, and one that they jump over is left out. Moments are epoch seconds.
"""

from __future__ import annotations

from proa.objects.cron import Schedule
from proa.objects.time_zones import LOCAL_ZONE, Clock, TimeZone, find_time_zone

YEARS_AHEAD = 5
"""So far ahead is looked for a moment: not every schedule has one (31 February)."""
HOUR, MINUTE = 3600, 60


def next_moment(schedule: Schedule, after: int, zone: TimeZone | None = None) -> int | None:
    """Return the first moment later than `after`, None where there is none within five years.

    The zone that the schedule's text names counts before `zone`; without both the machine's own does.
    """
    if schedule.every_seconds:
        return after + int(schedule.every_seconds)
    if schedule.zone:
        zone = find_time_zone(schedule.zone)
    return _Search(schedule, zone or LOCAL_ZONE, after + 1).run()


def last_moment(schedule: Schedule, after: int, until: int, zone: TimeZone | None = None) -> int | None:
    """Return the last moment that is later than `after` and not later than `until`, None where there is none."""
    first = next_moment(schedule, after, zone)
    if first is None or first > until:
        return None
    if schedule.every_seconds:
        return until - (until - first) % int(schedule.every_seconds)
    low, high = after, until  # the first moment after `low` is not too late, that after `high` is
    while high - low > 1:
        middle = (low + high) // 2
        found = next_moment(schedule, middle, zone)
        if found is None or found > until:
            high = middle
        else:
            low = middle
    return next_moment(schedule, low, zone)


class _Search:
    """One search: where it is, and whether smaller fields have started anew."""

    def __init__(self, schedule: Schedule, zone: TimeZone, moment: int) -> None:
        self.schedule = schedule
        self.zone = zone
        self.moment = moment
        self.clock: Clock = zone.clock(moment)
        self.last_year = self.clock.year + YEARS_AHEAD
        self.is_rounded = False

    def run(self) -> int | None:
        while self.clock.year <= self.last_year:
            if self._fit_month() and self._fit_day() and self._fit_hour() and self._fit_minute():
                return self.moment
        return None

    def _go_to(self, moment: int) -> None:
        self.moment = moment
        self.clock = self.zone.clock(moment)

    def _fit_month(self) -> bool:
        """Move on to a month that fits; return False where that began another year."""
        while self.clock.month not in self.schedule.months:
            if not self.is_rounded:
                self.is_rounded = True
                self._go_to(self.zone.moment(self.clock.year, self.clock.month, 1))
            year, month, day, hour, minute, _ = self.clock
            self._go_to(self.zone.moment(year, month + 1, day, hour, minute))
            if self.clock.month == 1:
                return False
        return True

    def _fit_day(self) -> bool:
        while not self._day_fits():
            if not self.is_rounded:
                self.is_rounded = True
                self._go_to(self.zone.moment(self.clock.year, self.clock.month, self.clock.day))
            year, month, day, hour, minute, _ = self.clock
            self._go_to(self.zone.moment(year, month, day + 1, hour, minute))
            if hour := self.clock.hour:  # there is no midnight on that day
                self._go_to(self.moment + (24 - hour if hour > 12 else -hour) * HOUR)
            if self.clock.day == 1:
                return False
        return True

    def _day_fits(self) -> bool:
        day = self.clock.day in self.schedule.days
        weekday = self.clock.weekday in self.schedule.weekdays
        return (day and weekday) if self.schedule.has_star_day else (day or weekday)

    def _fit_hour(self) -> bool:
        while self.clock.hour not in self.schedule.hours:
            if not self.is_rounded:
                self.is_rounded = True
                year, month, day, hour, *_ = self.clock
                self._go_to(self.zone.moment(year, month, day, hour))
            self._go_to(self.moment + HOUR)
            if self.clock.hour == 0:
                return False
        return True

    def _fit_minute(self) -> bool:
        while self.clock.minute not in self.schedule.minutes:
            if not self.is_rounded:
                self.is_rounded = True
                self._go_to(self.moment - self.moment % MINUTE)
            self._go_to(self.moment + MINUTE)
            if self.clock.minute == 0:
                return False
        return self._fit_second()

    def _fit_second(self) -> bool:
        second = self.moment % MINUTE
        fitting = min((other for other in self.schedule.seconds if other >= second), default=MINUTE)
        if fitting > second:
            self.is_rounded = True
            self._go_to(self.moment + fitting - second)
        return fitting < MINUTE
