// Has ical.js read a calendar: a file comes in, what its events say goes out as JSON.

import { readFileSync } from "node:fs";

import ICAL from "ical.js";

const calendar = new ICAL.Component(ICAL.parse(readFileSync(process.argv[2], "utf8")));
const events = calendar.getAllSubcomponents("vevent").map((component) => {
  const event = new ICAL.Event(component);
  const attendee = component.getFirstProperty("attendee");
  return {
    uid: event.uid,
    start: event.startDate.toJSDate().toISOString(),
    end: event.endDate.toJSDate().toISOString(),
    stamp: component.getFirstPropertyValue("dtstamp").toJSDate().toISOString(),
    summary: event.summary,
    description: event.description,
    mail: attendee.getFirstValue(),
    name: attendee.getParameter("cn"),
  };
});
console.log(JSON.stringify({ name: calendar.getFirstPropertyValue("x-wr-calname"), events }));
